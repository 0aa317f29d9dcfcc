"""Annotation files: the real one is read right, and each mistake is told in one clear line."""

import json
from pathlib import Path

import pytest
import torch

from loco.data.annotations import read_annotations
from loco.errors import AnnotationError

REAL = Path(__file__).parents[3] / "shared/unav100/unav100_annotations.json"


def event(start=1.0, end=2.0, label="dog", label_id=0):
    return {"segment": [start, end], "label": label, "label_id": label_id}


def video(*events, duration=10.0, subset="train"):
    return {"duration": duration, "subset": subset, "annotations": list(events)}


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


def write(tmp_path, content):
    path = tmp_path / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def database(**videos):
    return {"version": "mine", "database": videos}


def test_reads_videos_classes_and_splits(tmp_path):
    content = database(
        a=video(event(1, 2.5), event(0, 10, "cat", 1)),
        b=video(subset="validation"),
        c=video(event(3, 4), subset="train"),
    )
    annotations = read_annotations(write(tmp_path, content))
    assert list(annotations) == ["a", "b", "c"]
    assert annotations.class_names == ["dog", "cat"]
    assert [v.id for v in annotations.split("train")] == ["a", "c"]
    a = annotations["a"]
    assert (a.duration, a.subset) == (10.0, "train")
    assert a.events.segments.dtype == torch.float64
    assert a.events.segments.tolist() == [[1.0, 2.5], [0.0, 10.0]]
    assert a.events.labels.tolist() == [0, 1]
    assert annotations["b"].events.segments.shape == (0, 2)


def test_order_of_the_file_does_not_matter(tmp_path):
    content = database(b=video(event()), c=video(event()), a=video(event()))
    annotations = read_annotations(write(tmp_path, content))
    assert list(annotations) == ["a", "b", "c"]
    assert [v.id for v in annotations.split("train")] == ["a", "b", "c"]


def test_reads_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(database(a=video(event()))), encoding="utf-8-sig")
    assert list(read_annotations(path)) == ["a"]


@pytest.mark.skipif(not REAL.exists(), reason=f"UnAV-100's annotations are not at {REAL}")
def test_real_file_has_the_known_numbers():
    annotations = read_annotations(REAL)
    counts = {name: len(annotations.split(name)) for name in ("train", "validation", "test")}
    assert counts == {"train": 6489, "validation": 2134, "test": 2167}
    assert len(annotations) == 10_790
    assert len(annotations.class_names) == 100
    assert annotations.class_names[36] == "skateboarding"
    events = [len(v.events) for v in annotations.values()]
    assert (sum(events), min(events), max(events), events.count(1)) == (30_059, 1, 23, 4_449)
    durations = torch.tensor([v.duration for v in annotations.values()], dtype=torch.float64)
    assert (durations.min(), durations.max()) == (pytest.approx(10, abs=0.05), pytest.approx(60))
    assert durations.mean() == pytest.approx(42.1, abs=0.05)
    segments = torch.cat([v.events.segments for v in annotations.values()])
    lengths = segments[:, 1] - segments[:, 0]
    assert lengths.min() == pytest.approx(0.21, abs=0.005)
    assert lengths.median() == pytest.approx(6.4, abs=0.05)
    assert lengths.mean() == pytest.approx(13.9, abs=0.05)


GOOD = video(event())
SEGMENT = "video 'x': annotations[0].segment"
MISTAKES = {
    "not an object": ([], "the file: expected an object with the key 'database', got []"),
    "no database": ({"version": "1"}, "database: expected this key, it is missing"),
    "database type": ({"database": []}, "database: expected an object of videos by id, got []"),
    "video type": (database(x=3), "video 'x': its entry: expected an object, got 3"),
    "no duration": (database(x=without(GOOD, "duration")), "video 'x': duration: expected this"),
    "no subset": (database(x=without(GOOD, "subset")), "video 'x': subset: expected this key"),
    "no events": (database(x=without(GOOD, "annotations")), "video 'x': annotations: expected th"),
    "duration type": (
        database(x=video(duration="10")),
        "video 'x': duration: expected a number (seconds), got '10'",
    ),
    "duration bool": (database(x=video(duration=True)), "expected a number (seconds), got True"),
    "duration nan": (database(x=video(duration=float("nan"))), "expected a finite number (sec"),
    "duration inf": (database(x=video(duration=float("inf"))), "expected a finite number (sec"),
    "duration huge": (database(x=video(duration=10**400)), "duration: expected a finite number"),
    "duration zero": (
        database(x=video(duration=0)),
        "video 'x': duration: expected more than 0 seconds, got 0.0",
    ),
    "subset": (
        database(x=video(subset="training")),
        "video 'x': subset: expected train | validation | test, got 'training'",
    ),
    "subset unhashable": (database(x=video(subset=["train"])), "subset: expected train | vali"),
    "annotations type": (
        database(x={**GOOD, "annotations": {}}),
        "video 'x': annotations: expected a list of events, got {}",
    ),
    "event type": (
        database(x=video(event(), 5)),
        "video 'x': annotations[1]: expected an object, got 5",
    ),
    "no segment": (
        database(x=video(without(event(), "segment"))),
        f"{SEGMENT}: expected this key, it is missing",
    ),
    "no label": (database(x=video(without(event(), "label"))), "annotations[0].label: expected th"),
    "no label id": (database(x=video(without(event(), "label_id"))), ".label_id: expected this"),
    "segment type": (
        database(x=video({**event(), "segment": "1-2"})),
        f"{SEGMENT}: expected [start, end] in seconds, got '1-2'",
    ),
    "segment of three": (
        database(x=video({**event(), "segment": [1, 2, 3]})),
        f"{SEGMENT}: expected [start, end] in seconds, got [1, 2, 3]",
    ),
    "start bool": (
        database(x=video(event(False, 2))),
        f"{SEGMENT}[0]: expected a number (seconds), got False",
    ),
    "end nan": (
        database(x=video(event(1, float("nan")))),
        f"{SEGMENT}[1]: expected a finite number (seconds), got nan",
    ),
    "end null": (database(x=video(event(1, None))), "expected a number (seconds), got None"),
    "end before start": (
        database(x=video(event(3, 2))),
        f"{SEGMENT}: expected start < end, got [3, 2]",
    ),
    "end is start": (database(x=video(event(3, 3))), f"{SEGMENT}: expected start < end"),
    "negative": (
        database(x=video(event(-1, 3))),
        f"{SEGMENT}: expected times within [0, 10], the duration, got [-1, 3]",
    ),
    "over the end": (database(x=video(event(1, 10.3))), "expected times within [0, 10], the dur"),
    "label type": (
        database(x=video(event(label=5))),
        "video 'x': annotations[0].label: expected the name of a class, got 5",
    ),
    "label empty": (database(x=video(event(label=" "))), "expected the name of a class, got ' '"),
    "id bool": (
        database(x=video(event(label_id=True))),
        "video 'x': annotations[0].label_id: expected a whole number from 0, got True",
    ),
    "id float": (database(x=video(event(label_id=0.0))), "expected a whole number from 0, got 0.0"),
    "id huge": (database(x=video(event(label_id=10**30))), "expected a whole number from 0, got"),
    "label surrogate": (database(x=video(event(label="\ud800"))), "expected the name of a class"),
    "video surrogate": (database(**{"\udcff": GOOD}), "its id: expected text that UTF-8 can hold"),
    "far over the end": (database(x=video(event(1, 20))), "expected times within [0, 10], the dur"),
    "begins at the end": (database(x=video(event(10, 10.1))), "expected times within [0, 10]"),
    "id negative": (database(x=video(event(label_id=-1))), "expected a whole number from 0, got"),
    "label with two ids": (
        database(x=video(event(), event(label_id=1))),
        "video 'x': annotations[1].label_id: expected 0, the id that label 'dog' has elsewhere "
        "in the file, got 1",
    ),
    "id with two labels": (
        database(x=video(event()), y=video(event(label="cat"))),
        "video 'y': annotations[0].label: expected 'dog', the label of id 0 elsewhere in the "
        "file, got 'cat'",
    ),
    "gap": (
        database(x=video(event(), event(label="cat", label_id=2))),
        "label_id: expected the 2 classes to have the ids 0 to 1 without gaps, "
        "but no event has id 1 and 'cat' has id 2",
    ),
    "duplicate video": (
        '{"database": {"x": {"duration": 1, "subset": "test", "annotations": []}, '
        '"x": {"duration": 2, "subset": "test", "annotations": []}}}',
        "video 'x': expected once, stands 2 times",
    ),
    "duplicate key": (
        '{"database": {"x": {"duration": 1, "annotations": [], "subset": "train", '
        '"subset": "test"}}}',
        "key 'subset': expected once, stands 2 times",
    ),
    "not JSON": ('{"database":\n{"x": oops}}', "line 2, column 7: expected JSON, got: Expecting"),
    "empty file": ("", "line 1, column 1: expected JSON, got: Expecting value"),
    "nested without end": ("[" * 100_000, "expected JSON of ordinary size"),
}


@pytest.mark.parametrize(("content", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_told_with_file_and_place(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert message in text
    assert "\n" not in text


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    content = database(
        a=video(event(3, 2), event(label=5), duration=-1), b=video(subset="val"), c=7, d=GOOD,
        e=video(*[event(9, 1)] * 30),
    )  # fmt: skip
    with pytest.raises(AnnotationError) as caught:
        read_annotations(write(tmp_path, content))
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("annotations.json: 35 problems:")
    assert [line.split(":")[0] for line in lines[:6]] == [
        "  video 'a'", "  video 'a'", "  video 'a'", "  video 'b'", "  video 'c'", "  video 'e'"
    ]  # fmt: skip
    assert "start < end, got [3, 2]" in lines[1]
    assert lines[-1] == "  … and 15 more"


def test_an_event_that_stands_twice_is_told(tmp_path, caplog):
    """Each copy is an event: they may be two people's marks, or one that is there by a slip."""
    alike = [event(1, 2), event(1, 2), event(1, 2, "cat", 1), event(1, 2.5)]
    path = write(tmp_path, database(a=video(event(0, 1)), b=video(*alike)))
    for _ in range(2):
        assert len(read_annotations(path)["b"].events) == 4
    (record,) = caplog.records
    assert "1 events stand there a second time" in record.getMessage()
    assert "in video 'b'" in record.getMessage()


def test_times_out_of_the_video_by_rounding_are_clipped_with_one_warning(tmp_path, caplog):
    content = database(
        a=video(event(1, 8.404), event(-0.001, 2), duration=8.4),
        b=video(event(0, 60.5), duration=60), c=GOOD,
    )  # fmt: skip
    path = write(tmp_path, content)
    annotations = read_annotations(path)
    assert annotations["a"].events.segments.tolist() == [[1, 8.4], [0, 2]]
    assert annotations["b"].events.segments.tolist() == [[0, 60]]
    read_annotations(path)
    (record,) = caplog.records
    assert "3 events reach out of their video" in record.getMessage()


def test_missing_file_folder_and_binary(tmp_path):
    with pytest.raises(AnnotationError, match="expected an annotation file, there is none"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(AnnotationError, match="cannot be read: Is a directory"):
        read_annotations(tmp_path)
    path = tmp_path / "binary.json"
    path.write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(AnnotationError, match="expected JSON in UTF-8, this is not text"):
        read_annotations(path)


def test_split_that_is_unknown_or_empty(tmp_path):
    annotations = read_annotations(write(tmp_path, database(x=GOOD)))
    with pytest.raises(AnnotationError, match=r"annotations\.json: subset 'test' is asked for"):
        annotations.split("test")
    with pytest.raises(AnnotationError, match="expected a subset among train"):
        annotations.split("val")
