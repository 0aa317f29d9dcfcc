"""From films to detections, by the commands: extract, train on it, predict films."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from clips import flash, real_film, steady, tone, write_clip
from helpers import QUIET, ROOT, TINY_MODEL, compose_config
from loco.errors import (
    CheckpointError,
    ExportError,
    FeatureError,
    IncompleteError,
    SettingError,
    VideoError,
)
from loco.runs.entry import user_errors
from loco.runs.evaluate import evaluate
from loco.runs.extract import extract
from loco.runs.predict import predict
from loco.runs.train import train
from loco.video.extractor import Extractor

NEED_WEIGHTS = {
    "i3d_vggish": r"i3d_rgb\.pt in models", "pe_av": "path", "transformers": "path",
}  # fmt: skip
"""Extractor → what it says where the files that one has to fetch are not given."""
SMALL = ["extractor.visual.0.size=32", "extractor.audio.0.bands=8"]


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "conf/extractor").glob("*.yaml")))
def test_every_extractor_builds(name: str, tmp_path: Path) -> None:
    """Or says what it needs."""
    config = compose_config(
        "extract", [f"extractor={name}", "videos=x", "root=x", f"output_dir={tmp_path}"]
    )
    if name in NEED_WEIGHTS:
        with pytest.raises(
            (InstantiationException, OmegaConfBaseException), match=NEED_WEIGHTS[name]
        ):
            instantiate(config.extractor)
    else:
        assert isinstance(instantiate(config.extractor), Extractor)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films, their features, and a run on them, in `clips`, `features` and `run`."""
    root = tmp_path_factory.mktemp("films")
    (root / "clips").mkdir()
    database: dict[str, Any] = {}
    subsets = ("train", "train", "validation", "test")
    for i, subset in enumerate(subsets):
        at = 1 + i / 2
        write_clip(root / "clips" / f"v{i}.mp4", flash(at, 1.0), steady(4), tone(at, 4, 1.0))
        event = {"segment": [at, at + 1], "label": "flash", "label_id": 0}
        database[f"v{i}"] = {"duration": 4.0, "subset": subset, "annotations": [event]}
    (root / "annotations.json").write_text(json.dumps({"database": database}))
    extract(compose_config("extract", [
        f"videos={root / 'clips'}", f"root={root / 'features'}", f"output_dir={root}", *SMALL,
    ]))  # fmt: skip
    train(training(root))
    return root


def training(root: Path, *overrides: str) -> Any:
    return compose_config("train", [
        "data=lite", f"data.root={root / 'features'}", f"data.annotations={root}/annotations.json",
        "data.batch_size=2", "trainer.max_epochs=1", f"output_dir={root / 'run'}",
        *TINY_MODEL, *QUIET, *overrides,
    ])  # fmt: skip


def prediction(root: Path, output: Path, *overrides: str) -> Any:
    return compose_config("predict", [
        f"ckpt_path={root / 'run'}", f"output_dir={output}", "trainer.accelerator=cpu",
        "+trainer.enable_progress_bar=false", *overrides,
    ])  # fmt: skip


def test_films_in_subtitles_out(trained: Path, tmp_path: Path) -> None:
    new = write_clip(tmp_path / "holiday.2026.mp4", flash(2, 1.0), steady(5), tone(2, 5, 1.0))
    found = predict(prediction(trained, tmp_path / "out", f"videos={new}", "formats=[srt,json]"))
    assert set(found) == {"holiday.2026"}
    assert " --> " in (tmp_path / "out/srt/holiday.2026.srt").read_text()
    assert found["holiday.2026"].segments.max() <= 5  # the film's length, not the last window's


def test_a_real_film(trained: Path, tmp_path: Path) -> None:
    """By the encoders of the checkpoint; 720 lines and six channels of sound become features."""
    film = real_film()
    words = [f"videos={film}", "formats=[html,srt]"]
    found = predict(prediction(trained, tmp_path / "out", *words))
    assert set(found) == {"bigbuckbunny"}
    assert found["bigbuckbunny"].segments.max() <= 5.32
    page = (tmp_path / "out/predictions.html").read_text("utf-8")
    assert "datasets/data/bigbuckbunny.mp4" in page  # browsers play it as it is


def test_a_page_and_captions_of_films_alone(trained: Path, tmp_path: Path) -> None:
    wanted = "formats=[html,mp4,csv]"
    predict(prediction(trained, tmp_path / "a", f"videos={trained / 'clips'}/v0.mp4", wanted))
    page = (tmp_path / "a" / "predictions.html").read_text("utf-8")
    assert "films/v0.mp4" in page  # mpeg4, which browsers do not play
    assert {p.name for p in (tmp_path / "a").iterdir()} >= {"films", "mp4", "predictions.csv"}
    with pytest.raises(ExportError, match=r"and html, mp4 with videos=…"):
        predict(prediction(trained, tmp_path / "b", f"data.root={trained / 'features'}", wanted))


def test_the_same_features_as_from_a_folder(trained: Path, tmp_path: Path) -> None:
    films = predict(prediction(trained, tmp_path / "a", f"videos={trained / 'clips'}"))
    files = predict(prediction(trained, tmp_path / "b", f"data.root={trained / 'features'}"))
    assert films.keys() == files.keys()
    for video, events in films.items():
        assert torch.equal(events.segments, files[video].segments)


def test_a_bad_film_is_named_and_the_others_go_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "diary.mp4"
    bad.write_text("hello")
    config = prediction(trained, tmp_path / "out", f"videos=[{bad},{trained}/clips/v0.mp4]")
    with pytest.raises(SystemExit) as end:
        user_errors(predict)(config)
    assert end.value.code == 3
    complaint = capsys.readouterr().err
    assert "1 of 2 videos could not be used" in complaint
    assert f"{bad}: not a video that FFmpeg can read" in complaint
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert set(written["database"]) == {"v0"}
    with pytest.raises(VideoError, match="not a video that FFmpeg can read"):
        predict(prediction(trained, tmp_path / "none", f"videos={bad}"))


def test_only_what_was_asked_for_is_predicted(trained: Path, tmp_path: Path) -> None:
    """In a folder that has another film's features already; a hidden film is one as well."""
    clips = trained / "clips"
    hidden = shutil.copyfile(clips / "v1.mp4", tmp_path / ".hidden.mp4")
    for name, film in (("v0", clips / "v0.mp4"), (".hidden", hidden)):
        found = predict(
            prediction(trained, tmp_path / "out", f"videos={film}", "formats=[html,json]")
        )
        assert set(found) == {name}
        written = json.loads((tmp_path / "out/predictions.json").read_text())
        assert set(written["database"]) == {name}
    bad = tmp_path / "diary.mp4"
    bad.write_text("hello")
    (tmp_path / "out/predictions.json").unlink()
    with pytest.raises(IncompleteError):  # the other's features are there from before
        predict(prediction(trained, tmp_path / "out", f"videos=[{bad},{clips}/v0.mp4]"))
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert set(written["database"]) == {"v0"}


def test_a_device_that_there_is_not(trained: Path, tmp_path: Path) -> None:
    films = f"videos={trained / 'clips'}"
    for device in ("nonsense", "xpu"):
        with pytest.raises(VideoError, match=f"device={device}: cannot be used"):
            predict(prediction(trained, tmp_path / device, films, f"device={device}"))


def test_extraction_names_what_is_bad(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.mp4").write_text("hello")
    config = compose_config("extract", [
        f"videos=[{tmp_path},{trained / 'clips'}]", f"root={tmp_path / 'features'}", *SMALL,
        f"output_dir={tmp_path}",
    ])  # fmt: skip
    with pytest.raises(IncompleteError, match="1 of 5 videos could not be used"):
        extract(config)
    assert len(list((tmp_path / "features").glob("*.npy"))) == 8


def test_another_extractor_is_refused(trained: Path, tmp_path: Path) -> None:
    films = f"videos={trained / 'clips'}"
    other = ["extractor=lite", "extractor.visual.0.size=64", "extractor.audio.0.bands=8"]
    with pytest.raises(CheckpointError, match=r"trained on features of lite0 .* size 32 → 64"):
        predict(prediction(trained, tmp_path / "a", films, *other))
    predict(prediction(trained, tmp_path / "b", films, "extractor=lite", *SMALL))
    extract(compose_config("extract", [
        films, f"root={tmp_path / 'features'}", f"output_dir={tmp_path}", *other[1:],
    ]))  # fmt: skip
    with pytest.raises(CheckpointError, match=r"but .* holds those of .* size 32 → 64"):
        predict(prediction(trained, tmp_path / "c", f"data.root={tmp_path / 'features'}"))
    with pytest.raises(CheckpointError, match="holds those of"):
        evaluate(compose_config("evaluate", [
            f"ckpt_path={trained / 'run'}", f"data.root={tmp_path / 'features'}", "report=false",
            f"output_dir={tmp_path / 'd'}", "trainer.accelerator=cpu",
        ]))  # fmt: skip


def test_features_of_which_nothing_says_what_made_them(
    finished_run: Path, trained: Path, tmp_path: Path
) -> None:
    """Of a run on published features."""
    films = [f"ckpt_path={finished_run}", f"videos={trained / 'clips'}"]
    with pytest.raises(CheckpointError, match="nothing says what made them"):
        predict(prediction(trained, tmp_path / "a", *films))
    with pytest.raises(CheckpointError, match="visual channels"):
        predict(prediction(trained, tmp_path / "b", *films, "extractor=lite", *SMALL))


def test_another_grid_is_refused(trained: Path) -> None:
    with pytest.raises(FeatureError, match="made with stride 8, the layout says 4"):
        train(training(trained, "data.layout.stride=4", f"output_dir={trained / 'other'}"))


def test_films_or_files(trained: Path, tmp_path: Path) -> None:
    both = ["videos=x.mp4", f"data.root={tmp_path}"]
    with pytest.raises(SettingError, match="expected one of them, got both"):
        predict(prediction(trained, tmp_path / "a", *both))


@pytest.mark.parametrize("task", [predict, extract])
def test_a_switch_is_true_or_false(task: Any, tmp_path: Path) -> None:
    needed = "ckpt_path=x" if task is predict else f"root={tmp_path / 'features'}"
    words = ["videos=x", "recursive=no", needed, f"output_dir={tmp_path / 'out'}"]
    with pytest.raises(SettingError, match="recursive=no: expected true or false"):
        task(compose_config(task.__name__, words))
    assert not list(tmp_path.iterdir())


def test_files_without_a_record_are_warned_of(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in (trained / "features").glob("*.npy"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with caplog.at_level(logging.WARNING):
        predict(prediction(trained, tmp_path / "out", f"data.root={tmp_path}"))
    assert "nothing says whether its features are those of the training" in caplog.text
