"""Finds the feature layouts that the configurations of data sets hold."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import instantiate

from loco.data.features import FeatureLayout
from loco.errors import LocoError
from loco.files import read_yaml


def read_layout(folder: Path, name: str) -> FeatureLayout:
    """The `layout` of the data configuration `{name}.yaml`.

    Args:
        folder: of the configurations, the repository's `conf/data`.
        name: such as "synthetic".

    Raises:
        LocoError: there is no such configuration, or it has no layout.
    """
    path = folder / f"{name}.yaml"
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml") if file.stem != "base"))
    if not path.is_file():
        raise LocoError(f"no layout {name!r}; there are: {known}")
    config = read_yaml(path)
    if "layout" not in config:  # nor one that is missing
        raise LocoError(f"{path} has no layout; there are: {known}")
    layout = instantiate(config.layout)
    assert isinstance(layout, FeatureLayout)
    return layout
