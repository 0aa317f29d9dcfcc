"""Where the configurations lie, and what one of them takes from another.

A resolver, which `loco.runs.entry` registers:

    ${layout_of:lite}    the layout of data/lite.yaml, of a user's own configurations or of ours
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loco.errors import SettingError
from loco.files import read_yaml


def config_folder() -> Path:
    """The configurations: inside an installed package, or in the repository of an editable one."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def layout_of(name: str) -> Any:
    """The layout that `data/{name}.yaml` holds.

    Raises:
        SettingError: there is no such file, or it has no layout.
    """
    from hydra.core.hydra_config import HydraConfig  # here: `--help` needs neither

    folders = [config_folder()]
    if HydraConfig.initialized():
        sources = HydraConfig.get().runtime.config_sources
        folders[:0] = [Path(source.path) for source in sources if source.schema == "file"]
    for folder in folders:
        path = folder / "data" / f"{name}.yaml"
        if path.is_file():
            config = read_yaml(path)
            if "layout" in config:
                return config.layout
    raise SettingError(f"extractor.layout: there is no data/{name}.yaml with a layout")
