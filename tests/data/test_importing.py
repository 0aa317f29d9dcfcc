"""Files of annotation tools, also those that we export, become an annotation file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from loco.data.annotations import read_annotations
from loco.data.importing import Mark, annotation_file, read_marks
from loco.errors import AnnotationError
from loco.runs.export import audacity_text, csv_text, elan_text
from loco.structures import Events

EVENTS = Events(
    torch.tensor([[0.5, 2.25], [1.0, 3.0]]), torch.tensor([1, 0]), torch.tensor([0.9, 0.4])
)
NAMES = ["dog barking", "bell (big)"]
MARKS = [Mark("v1", 0.5, 2.25, "bell (big)"), Mark("v1", 1.0, 3.0, "dog barking")]


@pytest.mark.parametrize(("ending", "text"), [
    (".eaf", elan_text(EVENTS, NAMES)), (".txt", audacity_text(EVENTS, NAMES)),
    (".csv", csv_text({"v1": EVENTS}, NAMES)),
])  # fmt: skip
def test_what_we_export_comes_back(ending: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"v1{ending}"
    path.write_text(text, encoding="utf-8")
    assert sorted(read_marks(path)) == MARKS


def test_an_elan_document_names_its_media(tmp_path: Path) -> None:
    text = elan_text(EVENTS, NAMES).replace(
        'TIME_UNITS="milliseconds" />',
        'TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/my%20clips/v%201.mp4" '
        'MIME_TYPE="video/mp4" /></HEADER>',
    ).replace("dog barking (0.40)", "")  # fmt: skip
    path = tmp_path / "anything.eaf"
    path.write_text(text, encoding="utf-8")
    assert {mark.video for mark in read_marks(path)} == {"v 1"}
    assert {mark.label for mark in read_marks(path)} == set(NAMES)  # the tier's name


def test_an_elan_document_may_begin_within_its_film(tmp_path: Path) -> None:
    """`TIME_ORIGIN`: the film's 2.5 s are the document's 0."""
    text = elan_text(EVENTS, NAMES).replace(
        'TIME_UNITS="milliseconds" />',
        'TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="v1.mp4" TIME_ORIGIN="2500" />'
        "</HEADER>",
    )
    path = tmp_path / "v1.eaf"
    path.write_text(text, encoding="utf-8")
    moved = [mark._replace(start=mark.start + 2.5, end=mark.end + 2.5) for mark in MARKS]
    assert sorted(read_marks(path)) == moved


def test_an_elan_document_may_name_events_in_another_tier(tmp_path: Path) -> None:
    """Segments without a text, and a tier that refers to them; where there is one, a remark."""
    path = tmp_path / "v1.eaf"
    path.write_text(
        "<A><TIME_ORDER><TIME_SLOT TIME_SLOT_ID='t1' TIME_VALUE='0'/>"
        "<TIME_SLOT TIME_SLOT_ID='t2' TIME_VALUE='1000'/></TIME_ORDER><TIER TIER_ID='segments'>"
        + "".join(
            f"<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID='a{i}' TIME_SLOT_REF1='t1' "
            f"TIME_SLOT_REF2='t2'><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>"
            "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            for i, text in enumerate(("", "bell", ""))
        )
        + "</TIER><TIER TIER_ID='names'>"
        + "".join(
            f"<ANNOTATION><REF_ANNOTATION ANNOTATION_ID='b{i}' ANNOTATION_REF='a{i}'>"
            f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
            for i, text in enumerate(("dog barking", "loud"))
        )
        + "</TIER></A>"
    )
    assert [mark.label for mark in read_marks(path)] == ["dog barking", "bell", "segments"]


def test_labels_of_a_table_are_kept_as_they_are(tmp_path: Path) -> None:
    """Numbers in brackets (our own tables have a column for scores), quoted line breaks, our
    guarded cells."""
    path = tmp_path / "x.CSV"
    rows = ['v,0,1,speaker (5.1)', 'v,1,2,speaker (7.1) (0.50)', 'v,2,3,"dog\nbarking"',
            "'@home,3,4,'-foo bar"]  # fmt: skip
    path.write_bytes(("video,start,end,label\r\n" + "\r\n".join(rows)).encode())
    marks = read_marks(path)
    assert [mark.label for mark in marks] == [
        "speaker (5.1)", "speaker (7.1) (0.50)", "dog barking", "-foo bar",
    ]  # fmt: skip
    assert marks[-1].video == "@home"
    path.write_text("video,start,end,label\nv,0,1,a\nv,0,x,b\n")
    with pytest.raises(AnnotationError, match="line 3: expected seconds"):
        read_marks(path)


def test_boxes_of_a_via_project(tmp_path: Path) -> None:
    """Each box that is ticked is an event; a segment without any value is told."""
    project: dict[str, Any] = {
        "attribute": {"1": {"aname": "what", "type": 2, "options": {"a": "dog", "b": "rain"}}},
        "file": {"7": {"fname": "v1.mp4"}},
        "view": {"3": {"fid_list": ["7"]}},
        "metadata": {"m": {"vid": "3", "z": [0.5, 2.25], "xy": [], "av": {"1": "a,b"}}},
    }
    path = tmp_path / "project.json"
    path.write_text(json.dumps(project))
    assert [mark.label for mark in read_marks(path)] == ["dog", "rain"]
    project["attribute"]["2"] = {"aname": "note", "type": 1, "options": {}}
    for note in ("", "far, loud"):  # a remark beside a choice
        project["metadata"]["m"]["av"] = {"2": note, "1": "b"}
        path.write_text(json.dumps(project))
        assert [mark.label for mark in read_marks(path)] == ["rain"]
    for values in ({"1": "", "2": ""}, {}):
        project["metadata"]["m"]["av"] = values
        path.write_text(json.dumps(project))
        with pytest.raises(AnnotationError, match=r"\[0.5, 2.25\] s: expected a label"):
            read_marks(path)
    project["view"]["3"]["fid_list"] = []
    path.write_text(json.dumps(project))
    with pytest.raises(AnnotationError, match="not of the form of its kind"):
        read_marks(path)


def test_a_via_project(tmp_path: Path) -> None:
    project: dict[str, Any] = {
        "attribute": {
            "1": {"aname": "what", "options": {"0": "dog barking", "1": "bell (big)"}},
            "2": {"aname": "free", "options": {}},
        },
        "file": {"7": {"fname": "v1.mp4"}},
        "view": {"3": {"fid_list": ["7"]}},
        "metadata": {
            "a": {"vid": "3", "z": [0.5, 2.25], "xy": [], "av": {"1": "1"}},
            "b": {"vid": "3", "z": [1, 3], "xy": [], "av": {"2": "dog barking"}},
            "c": {"vid": "3", "z": [1.5], "xy": [2, 1, 1, 5, 5], "av": {"1": "0"}},
        },
    }
    path = tmp_path / "project.json"
    path.write_text(json.dumps(project))
    assert sorted(read_marks(path)) == MARKS


def test_the_file_is_what_training_reads(tmp_path: Path) -> None:
    durations = {f"v{i}": 10.0 for i in range(20)}
    marks = [Mark(video, 1.0, 2.0 + i / 10, NAMES[i % 2]) for i, video in enumerate(durations)]
    content = annotation_file(marks, durations, (0.6, 0.2, 0.2))
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    read = read_annotations(path)
    assert read.class_names == sorted(NAMES)
    assert [len(read.split(name)) for name in ("train", "validation", "test")] == [12, 4, 4]
    assert content == annotation_file(list(reversed(marks)), durations, (0.6, 0.2, 0.2))
    assert content != annotation_file(marks, durations, (0.6, 0.2, 0.2), seed=1)
    for count in (3, 4, 5):
        few = annotation_file([], {f"v{i}": 1.0 for i in range(count)}, (0.9, 0.05, 0.05))
        subsets = [video["subset"] for video in few["database"].values()]
        assert sorted(subsets) == ["test", *["train"] * (count - 2), "validation"]
    for parts in ((0.95, 0.05, 0), (0.95, 0, 0.05), (0, 0.05, 0.95)):
        few = annotation_file([], {f"v{i}": 1.0 for i in range(4)}, parts)
        subsets = {str(video["subset"]) for video in few["database"].values()}
        wanted = zip(("train", "validation", "test"), parts, strict=True)
        assert subsets == {name for name, part in wanted if part > 0}


@pytest.mark.parametrize(("name", "text", "told"), [
    ("x.txt", "1\t2\n", "line 1: expected start, end and label"),
    ("x.txt", "a\t2\tdog\n", "line 1: expected seconds, got 'a'"),
    ("x.txt", "2\t1\tdog\n", "expected 0 ≤ start < end"),
    ("x.txt", "1\t2\t \n", "expected a label"),
    ("x.csv", "video,start,end\n", "no label"),
    ("x.csv", "video,start,end,label\nv,1,,dog\n", "line 2: expected seconds"),
    ("x.csv", "video,start,end,label\nv,1,2,dog, barking\n", "line 2: more cells than columns"),
    ("x.csv", 'video,start,end,label\nv,"1,500",2,dog\n', "line 2: '1,500' may be thousands"),
    ("x.json", json.dumps({
        "attribute": {
            "1": {"aname": "class", "options": {"0": "dog"}},
            "2": {"aname": "certain", "options": {"0": "sure"}},
        },
        "file": {"7": {"fname": "v1.mp4"}}, "view": {"3": {"fid_list": ["7"]}},
        "metadata": {"a": {"vid": "3", "z": [0, 1], "xy": [], "av": {"1": "0", "2": "0"}}},
    }), "video 'v1', [0, 1] s: choices of certain, class; expected those of one attribute"),
    ("x.eaf", "hello", "not of the form of its kind"),
    ("x.eaf", "<A><HEADER TIME_UNITS='PAL-frames'/></A>", "its TIME_UNITS are PAL-frames"),
    ("x.json", "{}", "not of the form of its kind"),
    ("x.json", "hello", "Expecting value"),
    ("x.doc", "", "expected one of .eaf, .txt, .csv, .json"),
])  # fmt: skip
def test_what_is_wrong_is_told(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError) as error:
        read_marks(tmp_path / name)
    assert told in str(error.value)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_events_that_cannot_be() -> None:
    with pytest.raises(AnnotationError, match="'v9': has events, but is no video here"):
        annotation_file([Mark("v9", 0, 1, "x")], {"v1": 5.0})
    for start, end in ((0, 9), (5.1, 5.4), (5, 5.4)):
        told = f"from {start:g} to {end:g} s, the video ends at 5 s"
        with pytest.raises(AnnotationError, match=told):
            annotation_file([Mark("v1", start, end, "x")], {"v1": 5.0})
    content = annotation_file([Mark("v1", 4, 5.4, "x")], {"v1": 5.0})
    assert content["database"]["v1"]["annotations"][0]["segment"] == [4, 5.0]
    with pytest.raises(ValueError, match="three parts"):
        annotation_file([], {}, (0.5, 0.1, 0.1))
