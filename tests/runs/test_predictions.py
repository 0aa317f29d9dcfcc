"""Predictions read back in every form that people publish, and `loco score` on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from loco.cli import main
from loco.errors import PredictionsError
from loco.runs.export import csv_text
from loco.runs.predictions import read_predictions

NAMES = ["a dog, barking", "=cash $$"]
VIDEOS = {"one": 10.0, "two": 20.0, "three": 5.0}


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Two test videos and one for training, each with an event of either class."""
    database = {
        video: {
            "duration": duration,
            "subset": "train" if video == "three" else "test",
            "annotations": [
                {"segment": [1.0, 4.0], "label": NAMES[0], "label_id": 0},
                {"segment": [2.0, 5.0], "label": NAMES[1], "label_id": 1},
            ],
        }
        for video, duration in VIDEOS.items()
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"database": database}), encoding="utf-8")
    return path


ENTRIES: dict[str, list[dict[str, Any]]] = {
    "one": [
        {"segment": [2.0, 5.0], "label": NAMES[1], "label_id": 1, "score": 0.5},
        {"segment": [1.0, 4.0], "label": NAMES[0], "label_id": 0, "score": 0.9},
    ],
    "two": [{"segment": [1.0, 3.0], "label": NAMES[0], "label_id": 0, "score": 0.7}],
}


def without(key: str) -> dict[str, list[dict[str, Any]]]:
    return {v: [{k: x for k, x in e.items() if k != key} for e in es] for v, es in ENTRIES.items()}


def columns() -> dict[str, list[Any]]:
    rows = [(video, entry) for video, entries in ENTRIES.items() for entry in entries]
    return {
        "video-id": [video for video, _ in rows],
        "t-start": [entry["segment"][0] for _, entry in rows],
        "t-end": [entry["segment"][1] for _, entry in rows],
        "label": [entry["label_id"] for _, entry in rows],
        "score": [entry["score"] for _, entry in rows],
    }


FORMS: dict[str, Callable[[], Any]] = {
    "database": lambda: {"database": ENTRIES},
    "names alone": lambda: {"database": without("label_id")},
    "ids alone": lambda: {"database": without("label")},
    "results": lambda: {"version": "x", "results": without("label_id"), "external_data": {}},
    "columns": columns,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_predictions(form: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(FORMS[form]()), encoding="utf-8")
    found = read_predictions(path, NAMES)
    assert list(found) == ["one", "two"]
    assert found["one"].segments.tolist() == [[1.0, 4.0], [2.0, 5.0]]
    assert found["one"].labels.tolist() == [0, 1]
    torch.testing.assert_close(found["one"].scores, torch.tensor([0.9, 0.5], dtype=torch.float64))


def test_the_table_that_we_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text(json.dumps({"database": ENTRIES}), encoding="utf-8")
    found = read_predictions(path, NAMES)
    table = tmp_path / "ours.csv"
    table.write_text(csv_text(found, NAMES), encoding="utf-8")
    again = read_predictions(table, NAMES)
    for video, events in found.items():
        assert torch.equal(events.segments, again[video].segments)
        assert torch.equal(events.labels, again[video].labels)


def broken(**changes: Any) -> dict[str, Any]:
    entry = ENTRIES["one"][0] | changes
    return {"database": {"one": [{k: v for k, v in entry.items() if v is not None}]}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"x": 1}, "the key 'database' or 'results'"),
        ([1], "the key 'database' or 'results'"),
        ({"database": [1]}, "an object of videos by id"),
        ({"database": {"one": 3}}, "video 'one'"),
        ({"database": {"one": {"annotations": []}}}, "an annotation file"),
        (broken(score=None), "[0].score: expected this key"),
        (broken(score=True), "[0].score"),
        (broken(score=float("nan")), "finite"),
        (broken(segment=[5.0, 2.0]), "start ≤ end"),
        (broken(segment=[5.0]), "[start, end]"),
        (broken(segment=["1", "2"]), "a number (seconds)"),
        (broken(label_id=2), "an id below 2"),
        (broken(label_id=-1), "a whole number"),
        (broken(label_id=0), "'a dog, barking', which the annotations have as id 0"),
        (broken(label_id=None, label="cat"), "the name of a class"),
        (broken(label_id=None, label=None), "label_id: expected this key"),
        (columns() | {"score": [1]}, "columns of one length"),
        (columns() | {"score": 1}, "expected lists"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(content: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PredictionsError) as error:
        read_predictions(path, NAMES)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_tables_and_pickles_that_are_none(tmp_path: Path) -> None:
    for name, text, told in (
        ("a.csv", "x,y\n1,2\n", "expected the columns"),
        ("b.csv", "video,start,end,label_id,score\none,a,2,0,1\n", "video 'one': [line 2].start"),
        ("e.csv", "video,start,end,label_id,score\none,0,2,1.7,1\n", ".label_id: expected a whole"),
        ("f.csv", "video,start,end,label_id,score\none,0,2,nan,1\n", ".label_id: expected a whole"),
        ("g.csv", "video,start,end,label_id,score\none,0,2,inf,1\n", ".label_id: expected a whole"),
        ("h.csv", f'video,start,end,label,score\none,0,2,"{"x" * 140_000}', "field larger than"),
        ("i.csv", "video,start,end,score,label\none,0,2,1,a dog, barking\n", "more cells than"),
        ("c.csv", "", "got nothing"),
        ("d.pkl", "", "a pickle can run anybody's code"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(PredictionsError) as error:
            read_predictions(tmp_path / name, NAMES)
        assert told in str(error.value)
    with pytest.raises(PredictionsError, match="there is none"):
        read_predictions(tmp_path / "nowhere.csv")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    bad = [entry | {"score": "high"} for entry in ENTRIES["one"]]
    (tmp_path / "theirs.json").write_text(json.dumps({"database": {"one": bad}}))
    with pytest.raises(PredictionsError, match="2 problems"):
        read_predictions(tmp_path / "theirs.json", NAMES)


def test_score(annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of each event found at tIoU 0.5; a video that is not named counts."""
    theirs, metrics = tmp_path / "theirs.json", tmp_path / "metrics.json"
    theirs.write_text(json.dumps({"results": {"one": ENTRIES["one"], "x": ENTRIES["two"]}}))
    words = ["score", str(theirs), "--annotations", str(annotations), "--output", str(metrics)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "1 of 2 test videos are not in it and count as without detections ('two')" in shown.err
    assert "1 videos of it are not in subset 'test' and do not count ('x')" in shown.err
    assert "constant predictor" in shown.out
    found = json.loads(metrics.read_text(encoding="utf-8"))
    assert found["mAP"] == found["mAP@0.9"] == 0.5
    assert found["per_class"][NAMES[1]]["mAP"] == 0.5
    assert found["diagnosis"]["num_events"] == 4


def test_several_are_compared(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "ours.json", tmp_path / "theirs.json"]
    files[0].write_text(json.dumps({"database": ENTRIES}))
    files[1].write_text(json.dumps(columns() | {"score": [0.1, 0.2, 0.3]}))
    words = ["score", *map(str, files), "--annotations", str(annotations), "--resamples", "20"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"over {files[0]} (95 % over videos:" in " ".join(out.split())
    for wrong, told in (
        (["--output", "x.json"], "several are a table alone"),
        (["--resamples", "-1"], "expected 0 or more"),
        (["--subset", "tset"], "expected a subset among"),
        (["--subset", "train"], "none of its videos is in subset 'train'"),
    ):
        assert main([*words, *wrong]) == 1
        complaint = capsys.readouterr().err
        assert told in complaint
        assert complaint.count("\n") == 1


def test_the_scores_of_a_run_are_its_metrics(finished_run: Path, tmp_path: Path) -> None:
    """A run's own predictions, rounded as they are written, score what the run said."""
    from loco.runs.run_folder import RunFolder

    run = RunFolder(finished_run)
    metrics = tmp_path / "metrics.json"
    words = ["score", str(finished_run / "predictions.json"), "--annotations"]
    assert main([*words, str(run.data.annotations_path), "--output", str(metrics)]) == 0
    found = json.loads(metrics.read_text(encoding="utf-8"))
    assert found["mAP"] == pytest.approx(run.metrics["mAP"], abs=1e-3)
