"""Predictions in people's formats, read back by what reads such files."""

from __future__ import annotations

import csv
import html
import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import lightning
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from helpers import NASTY, compose_config
from loco.data.features import FeatureStore
from loco.errors import ExportError, FeatureError, IncompleteError
from loco.runs.checkpoints import load_module
from loco.runs.entry import user_errors
from loco.runs.export import (
    FORMATS,
    audacity_text,
    cues,
    elan_text,
    srt_text,
    vtt_text,
    write_predictions,
)
from loco.runs.net_file import PointNet
from loco.runs.predict import predict as run_predict
from loco.runs.run_folder import RunFolder
from loco.structures import Events

NAMES = ["dog barking", 'man\tsaying "a, <b>"', "rain & wind"]


@pytest.fixture
def events() -> Events:
    """Two overlapping events of class 0, one of each other class, by descending score."""
    return Events(
        torch.tensor([[61.5, 62.75], [0.0, 3.25], [2.0, 3661.0004], [3.0, 3.0]]).double(),
        torch.tensor([1, 0, 0, 2]),
        torch.tensor([0.9, 0.8, 0.405, 0.1]).double(),
    )


def test_cues_are_in_the_order_of_time(events: Events) -> None:
    assert [cue.start for cue in cues(events, NAMES)] == [0.0, 2.0, 3.0, 61.5]
    assert cues(events, NAMES)[3].text == 'man saying "a, <b>" (0.90)'
    truth = Events(events.segments, events.labels)
    assert cues(truth, NAMES)[0].text == "dog barking"


def test_subtitles(events: Events) -> None:
    blocks = srt_text(events, NAMES).strip().split("\n\n")
    assert blocks[0] == "1\n00:00:00,000 --> 00:00:03,250\ndog barking (0.80)"
    assert blocks[1] == "2\n00:00:02,000 --> 01:01:01,000\ndog barking (0.41)"
    assert blocks[2].splitlines()[1] == "00:00:03,000 --> 00:00:03,001"  # never without length
    assert len(blocks) == len(events)
    head, *rest = vtt_text(events, NAMES).strip().split("\n\n")
    assert head == "WEBVTT"
    assert rest[0] == "00:00:00.000 --> 00:00:03.250\ndog barking (0.80)"
    assert rest[3].endswith('man saying "a, &lt;b&gt;" (0.90)')
    assert rest[2].endswith("rain &amp; wind (0.10)")


def test_audacity_labels(events: Events) -> None:
    rows = [line.split("\t") for line in audacity_text(events, NAMES).splitlines()]
    assert all(len(row) == 3 for row in rows)
    assert [float(row[0]) for row in rows] == [0.0, 2.0, 3.0, 61.5]
    assert rows[3] == ["61.500000", "62.750000", 'man saying "a, <b>" (0.90)']


def test_elan_document(events: Events) -> None:
    root = ElementTree.fromstring(elan_text(events, NAMES))
    slots = {s.attrib["TIME_SLOT_ID"]: int(s.attrib["TIME_VALUE"]) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    tiers = {}
    for tier in root.iter("TIER"):
        spans = [
            (slots[a.attrib["TIME_SLOT_REF1"]], slots[a.attrib["TIME_SLOT_REF2"]])
            for a in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        tiers[tier.attrib["TIER_ID"]] = spans
    assert tiers == {
        "dog barking": [(0, 3250)],
        "dog barking (2)": [(2000, 3661000)],
        'man saying "a, <b>"': [(61500, 62750)],
        "rain & wind": [(3000, 3001)],
    }
    ids = [a.attrib["ANNOTATION_ID"] for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids)) == len(ids) == len(events)


def test_all_formats_of_two_videos(events: Events, tmp_path: Path) -> None:
    detections = {"b.1": events, "a": Events.empty(scored=True)}
    written = write_predictions(tmp_path, detections, NAMES, FORMATS, min_score=0.4)
    assert [path.name for path in written] == [
        "predictions.json", "predictions.csv", "srt", "vtt", "audacity", "elan",
    ]  # fmt: skip
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert {"srt/b.1.srt", "vtt/a.vtt", "audacity/a.txt", "elan/b.1.eaf"} < files
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [0.9, 0.8, 0.405]  # 0.1 is below
    assert rows[0]["label"] == NAMES[1]
    database = json.loads((tmp_path / "predictions.json").read_text())["database"]
    assert len(database["b.1"]) == 3
    assert database["a"] == []
    assert len((tmp_path / "srt/b.1.srt").read_text().strip().split("\n\n")) == 3


def test_subtitles_are_read_back_by_libraries(tmp_path: Path) -> None:
    """Times and texts, also of names that either form has signs for; SRT keeps a word joiner."""
    srt = pytest.importorskip("srt")
    webvtt = pytest.importorskip("webvtt")
    names = [name for name in NASTY if name != "NOTE"]  # a cue's text, which no reader minds
    events = Events(
        torch.tensor([[float(i), i + 1.5] for i in range(len(names))]).double(),
        torch.arange(len(names)),
        torch.full((len(names),), 0.5).double(),
    )
    expected = [cue.text for cue in cues(events, names)]
    read = list(srt.parse(srt_text(events, names)))
    assert [cue.content.replace("\u2060", "") for cue in read] == expected
    assert [cue.start.total_seconds() for cue in read] == events.segments[:, 0].tolist()
    assert [cue.end.total_seconds() for cue in read] == events.segments[:, 1].tolist()
    (tmp_path / "a.vtt").write_text(vtt_text(events, names), encoding="utf-8")
    captions = webvtt.read(str(tmp_path / "a.vtt")).captions
    assert [html.unescape(caption.raw_text) for caption in captions] == expected
    assert [caption.start for caption in captions[:2]] == ["00:00:00.000", "00:00:01.000"]


def test_elan_files_name_their_media(events: Events, tmp_path: Path) -> None:
    film = tmp_path / "a film.mp4"
    write_predictions(tmp_path, {"x": events, "y": events}, NAMES, ["elan"], films={"x": film})
    header = ElementTree.parse(tmp_path / "elan" / "x.eaf").find("HEADER")
    assert header is not None
    assert header.attrib["MEDIA_FILE"] == "a film.mp4"
    (media,) = header
    assert media.attrib == {"MEDIA_URL": film.as_uri(), "MIME_TYPE": "video/mp4"}
    header = ElementTree.parse(tmp_path / "elan" / "y.eaf").find("HEADER")
    assert header is not None
    assert header.attrib["MEDIA_FILE"] == "y"  # of features alone no more is known


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="expected some of json, csv, srt"):
        write_predictions(tmp_path, {}, NAMES, ["json", "mp3"])
    assert not list(tmp_path.iterdir())


# ---- prediction


def predict(run: Path, features: Path, output: Path, *overrides: str) -> dict[str, Events]:
    return run_predict(
        compose_config(
            "predict",
            [
                f"ckpt_path={run / 'checkpoints/best.ckpt'}",
                f"data.root={features}",
                f"output_dir={output}",
                "trainer.accelerator=cpu",
                "+trainer.enable_progress_bar=false",
                "show=0",
                *overrides,
            ],
        )
    )


@pytest.fixture
def features(synthetic_root: Path, finished_run: Path, tmp_path: Path) -> Path:
    """The test videos' features, in a folder of their own."""
    folder = tmp_path / "features"
    folder.mkdir()
    for path in (synthetic_root / "features").glob("test_*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_bad_videos_are_named_and_the_rest_goes_on(
    finished_run: Path, features: Path, tmp_path: Path
) -> None:
    ids = sorted(path.name.removesuffix("_rgb.npy") for path in features.glob("*_rgb.npy"))
    nan, missing, *good = ids
    values = np.load(features / f"{nan}_vggish.npy")
    values[3] = np.nan
    np.save(features / f"{nan}_vggish.npy", values)
    (features / f"{missing}_flow.npy").unlink()
    with pytest.raises(IncompleteError) as caught:
        predict(
            finished_run, features, tmp_path / "out", "formats=[json,csv,srt]", "min_score=0.02",
            "data.eval_batch_size=1",  # the batch of the bad one is empty
        )  # fmt: skip
    message = str(caught.value)
    assert "2 of 5 videos could not be used" in message
    assert f"{nan}_vggish.npy: NaN or infinity in 1 steps, the first is 3" in message
    assert f"{missing}_flow.npy: missing" in message
    assert caught.value.exit_code == 3
    database = json.loads((tmp_path / "out/predictions.json").read_text())["database"]
    assert sorted(database) == good
    assert all(entry["score"] >= 0.02 for entries in database.values() for entry in entries)
    assert sorted(path.stem for path in (tmp_path / "out/srt").iterdir()) == good


def test_the_exit_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: DictConfig) -> None:
        raise IncompleteError("2 videos could not be used")

    with pytest.raises(SystemExit) as caught:
        user_errors(main)(DictConfig({}))
    assert caught.value.code == 3
    assert capsys.readouterr().err == "error: 2 videos could not be used\n"


def test_nothing_that_scores_enough_is_told(
    finished_run: Path, features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = predict(finished_run, features, tmp_path / "all")
    best = max(float(events.scores.max()) for events in found.values() if len(events))  # type: ignore[union-attr]
    assert "nothing scores" not in caplog.text
    predict(finished_run, features, tmp_path / "none", "min_score=1")
    assert f"nothing scores min_score=1 or more; the best score is {best:.3f}, in " in caplog.text


def test_bad_videos_as_an_error(finished_run: Path, features: Path, tmp_path: Path) -> None:
    broken = next(features.glob("*_flow.npy"))
    broken.write_bytes(b"")
    with pytest.raises(FeatureError, match="1 of 5 videos have files that cannot be used"):
        predict(finished_run, features, tmp_path / "out", "data.missing=error")


def test_nothing_is_computed_for_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        predict(tmp_path / "no_run", tmp_path, tmp_path / "out", "formats=[mp3]")


def test_two_arrays_and_a_grid_give_events(
    finished_run: Path, features: Path, tmp_path: Path
) -> None:
    """The same detections as those of prediction from files."""
    expected = predict(finished_run, features, tmp_path / "out", "data.eval_batch_size=1")
    module = load_module(finished_run / "checkpoints" / "best.ckpt")
    layout = RunFolder(finished_run).data.layout
    for video, events in expected.items():
        visual, audio = FeatureStore(features, layout).load(video)
        found = module.detect_arrays(visual, np.concatenate([audio, audio[-1:]]), layout.grid)
        torch.testing.assert_close(found.segments, events.segments)
        torch.testing.assert_close(found.scores, events.scores)
        assert torch.equal(found.labels, events.labels)
        assert not found.segments.requires_grad
        short = module.detect_arrays(visual, audio, layout.grid, duration=1.0)
        assert float(short.segments.max()) <= 1.0


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_model_of_one_modality_reads_no_other(finished_run: Path, modality: str) -> None:
    """In the file of the net as well, which knows of no `data.modality`."""
    module = load_module(finished_run / "checkpoints" / "best.ckpt")
    grid, random = RunFolder(finished_run).data.grid, np.random.default_rng(0)
    given = {"visual": random.normal(size=(30, 7)), "audio": random.normal(size=(30, 5))}
    alone = {k: x if k == modality else np.zeros_like(x) for k, x in given.items()}
    expected, other = (module.detect_arrays(**arrays, grid=grid) for arrays in (alone, given))
    module.hparams["data"]["modality"] = modality
    found = module.detect_arrays(**given, grid=grid)
    assert found.scores is not None
    torch.testing.assert_close(found.scores, expected.scores)
    assert not torch.equal(found.scores, other.scores)
    inputs = [torch.tensor(x[None], dtype=torch.float32) for x in given.values()]
    zeroed = [torch.tensor(x[None], dtype=torch.float32) for x in alone.values()]
    mask = torch.ones(1, 30, dtype=torch.bool)
    with torch.no_grad():
        ours = PointNet(module.detector, modality)(*inputs, mask)
        theirs = PointNet(module.detector)(*zeroed, mask)
    torch.testing.assert_close(ours[0], theirs[0])


@pytest.mark.parametrize("size", [1, 3])
def test_the_validation_loss_is_that_of_the_split(finished_run: Path, size: int) -> None:
    """However its videos are put into batches: the losses' sum, by all positive points."""
    folder = RunFolder(finished_run)
    losses = []
    for batch_size in (size, 100):
        data = folder.data
        data.eval_batch_size = batch_size
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False,
        )  # fmt: skip
        module = load_module(finished_run / "checkpoints" / "best.ckpt")
        losses.append(trainer.validate(module, data, verbose=False)[0])
    for name in ("val/loss_cls", "val/loss_reg"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-4), name


def test_arrays_that_do_not_fit(finished_run: Path) -> None:
    module = load_module(finished_run / "checkpoints" / "best.ckpt")
    grid = RunFolder(finished_run).data.grid
    visual, audio = np.zeros((9, 7)), np.zeros((9, 5))
    for wrong in (visual[:, :6], visual[0], visual[:0]):
        with pytest.raises(ValueError, match=r"visual must be of shape \(T, 7\)"):
            module.detect_arrays(wrong, audio, grid)
    with pytest.raises(ValueError, match="audio holds NaN"):
        module.detect_arrays(visual, np.full_like(audio, np.nan), grid)
    with pytest.raises(ValueError, match=r"visual has 29 steps and audio 9; .* at most 8"):
        module.detect_arrays(np.zeros((29, 7)), audio, grid)


def test_training_goes_on_in_training_mode(finished_run: Path) -> None:
    module = load_module(finished_run / "checkpoints" / "best.ckpt").train()
    module.detect_arrays(np.zeros((3, 7)), np.zeros((3, 5)), RunFolder(finished_run).data.grid)
    assert module.training
