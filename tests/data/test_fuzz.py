"""Files and settings as chance makes them: read, or refused in words; never another error, no hang.

What is drawn begins from what is right and spoils it, as plain noise is refused by its first byte.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from helpers import TINY_DATA, TINY_MODEL, compose_config
from loco.data.annotations import read_annotations
from loco.data.features import FeatureLayout, FeatureStore
from loco.data.headers import read_header
from loco.errors import AnnotationError, FeatureError, LocoError
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.part_checks import check_parts
from loco.runs.run_folder import read_predictions
from loco.runs.settings import check_numbers, read_config

FEW = settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), derandomize=True,
)  # fmt: skip
MANY = settings(FEW, max_examples=2000, derandomize=False)
AMOUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([0, -1, 1e308, -0.0, 2**63, 10**400, "", "train", "\ud800", "\0", "${x}"]),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def often(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is right."""
    return st.one_of(right, right, right, right, anything)


seconds = st.floats(0, 20)
event = st.fixed_dictionaries(
    {},
    optional={
        "segment": often(st.tuples(seconds, seconds).map(sorted)),
        "label": often(st.sampled_from(["a", "b", "ç", " "])),
        "label_id": often(st.integers(0, 2)),
    },
)
video = st.fixed_dictionaries(
    {},
    optional={
        "duration": often(st.floats(5, 20)),
        "subset": often(st.sampled_from(["train", "validation", "test"])),
        "annotations": often(st.lists(often(event), max_size=3)),
    },
)
database = often(st.dictionaries(st.text(max_size=5), often(video), max_size=4))


@pytest.mark.parametrize("amount", AMOUNTS)
def test_annotations(tmp_path: Path, amount: settings) -> None:
    path = tmp_path / "a.json"

    @amount
    @given(often(st.fixed_dictionaries({"database": database})), st.booleans())
    def check(content: Any, ascii: bool) -> None:
        text = json.dumps(content, ensure_ascii=ascii)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = read_annotations(path)
        except AnnotationError as error:
            str(error).encode("utf-8")
            return
        for entry in found.values():
            assert math.isfinite(entry.duration)
            assert bool((entry.events.segments >= 0).all())
            assert bool((entry.events.segments <= entry.duration).all())
            assert bool((entry.events.labels < len(found.class_names)).all())

    check()


@pytest.mark.parametrize("amount", AMOUNTS)
def test_damaged_json(tmp_path: Path, amount: settings) -> None:
    right = {
        "database": {
            f"v{i}": {
                "duration": 10, "subset": "train",
                "annotations": [{"segment": [1, 2.5], "label": "é", "label_id": 0}],
            }
            for i in range(2)
        }
    }  # fmt: skip
    content = json.dumps(right, ensure_ascii=False).encode()
    found = {"database": {"v": [{"segment": [0, 1], "label": "a", "label_id": 0, "score": 0.5}]}}
    predictions = json.dumps(found).encode()

    @amount
    @given(st.binary(max_size=6), st.integers(0, len(content)), st.integers(0, 12))
    def check(noise: bytes, place: int, cut: int) -> None:
        for name, whole, read in (
            ("a.json", content, read_annotations), ("p.json", predictions, read_predictions)
        ):  # fmt: skip
            (tmp_path / name).write_bytes(whole[:place] + noise + whole[place + cut :])
            with contextlib.suppress(LocoError):
                read(tmp_path / name)

    check()


LAYOUT = FeatureLayout(["{id}_v.npy"], ["{id}_a.npy"], 25, 24, 8)
dtypes = st.sampled_from(["<f2", "<f4", ">f4", "<f8", ">f8", "<i4", "|b1", "<c8", "|S3", "V5"])


@pytest.mark.parametrize("amount", AMOUNTS)
def test_features(tmp_path: Path, amount: settings) -> None:
    np.save(tmp_path / "x_a.npy", np.ones((4, 3), np.float32))
    path = tmp_path / "x_v.npy"

    @amount
    @given(
        dtypes, st.lists(st.integers(0, 5), max_size=3), st.booleans(), st.binary(max_size=5),
        st.integers(0, 200), st.integers(0, 8), st.sampled_from([(1, 0), (2, 0), (3, 0)]),
    )  # fmt: skip
    def check(
        dtype: str, shape: list[int], fortran: bool, noise: bytes, place: int, cut: int,
        version: tuple[int, int],
    ) -> None:  # fmt: skip
        stream = io.BytesIO()
        array = np.zeros(shape, dtype, order="F" if fortran else "C")
        np.lib.format.write_array(stream, array, version, allow_pickle=False)
        whole = stream.getvalue()
        path.write_bytes(whole[:place] + noise + whole[place + cut :])
        read_header(path)
        store = FeatureStore(tmp_path, LAYOUT)
        found = store.inspect(["x"])
        store.check_values(list(found.lengths))
        try:
            visual, audio = store.load("x")
        except FeatureError:
            return
        assert np.isfinite(visual).all()
        assert visual.dtype in (np.float16, np.float32)
        assert len(visual) == len(audio) > 0

    check()


KEYS = (
    "seed", "trainer.max_epochs", "trainer.precision", "trainer.gradient_clip_val",
    "data.batch_size", "data.num_workers", "data.max_length", "data.crop_ratio",
    "data.layout.fps", "data.layout.visual", "data.layout", "optimizer.lr", "optimizer",
    "model.dim", "model.heads", "model.drop_path", "model.num_levels", "model.encoder_blocks",
    "model.decoding.sigma", "model.decoding.nms", "model.decoding", "model.assigner.ranges",
    "model.criterion.regression", "attention", "attention.window_size", "correspondence.weight",
    "correspondence.target.sigma", "correspondence.target", "callbacks.ema.decay",
)  # fmt: skip
small = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 64), st.floats(-2, 2), st.text(max_size=6),
    st.sampled_from([math.nan, math.inf, -math.inf, "", "???", "${x}", "${seed}", "${", 2**70]),
    st.lists(st.integers(-2, 9), max_size=3), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip


@pytest.mark.parametrize("amount", AMOUNTS)
def test_settings(amount: settings) -> None:
    """What `loco train` checks before it reads anything."""
    right = compose_config("train", ["output_dir=out", "data.root=data", *TINY_DATA, *TINY_MODEL])

    told: list[str] = []

    @settings(amount, max_examples=amount.max_examples // 3)
    @given(st.dictionaries(st.sampled_from(KEYS), small, min_size=1, max_size=2))
    def check(changes: dict[str, Any]) -> None:
        config = right.copy()
        try:
            for key, value in changes.items():
                OmegaConf.update(config, key, value, force_add=True)
            check_numbers(config)
            check_parts(config)
        except (*USER_ERRORS, OmegaConfBaseException) as error:
            told.append(readable(error))

    check()
    assert told
    assert all(told)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_configurations_of_runs(tmp_path: Path, amount: settings) -> None:
    path = tmp_path / "config.yaml"

    @amount
    @given(st.one_of(st.binary(max_size=40), anything.map(lambda x: json.dumps(x).encode())))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(LocoError):
            read_config(path)

    check()
