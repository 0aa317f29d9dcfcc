"""Files and tables that a run leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from loco.data.annotations import Video
from loco.runs.results import (
    TABLE_COLUMNS,
    detailed_metrics,
    detections_table,
    diagnosis_table,
    metrics_table,
    mistakes_line,
    predictions_json,
    show,
    write_json,
)
from loco.structures import Events

NAMES = ["dog bark", "violin", "unseen"]
TRUTH = Events(torch.tensor([[0.0, 4.0], [2.0, 6.0]], dtype=torch.float64), torch.tensor([0, 1]))
FOUND = Events(
    torch.tensor([[0.0, 4.0], [5.0, 9.0], [2.0, 6.0]]),
    torch.tensor([0, 0, 1]),
    torch.tensor([0.9, 0.5, 0.25]),
)
VIDEOS = [Video("b", 10.0, "test", TRUTH), Video("a", 10.0, "test", Events.empty())]
DETECTIONS = {"b": FOUND, "a": Events.empty(scored=True)}


def text(table: Table) -> str:
    console = Console(width=120, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_predictions_have_the_form_of_unav100() -> None:
    database = predictions_json(DETECTIONS, NAMES)["database"]
    assert list(database) == ["a", "b"]
    assert database["a"] == []
    assert database["b"][0] == {
        "segment": [0.0, 4.0],
        "label": "dog bark",
        "label_id": 0,
        "score": 0.9,
    }


def test_detailed_metrics_are_json_and_agree_with_a_hand_count(tmp_path: Path) -> None:
    details = detailed_metrics(DETECTIONS, VIDEOS, NAMES)
    write_json(tmp_path / "deep" / "metrics.json", details)
    read = json.loads((tmp_path / "deep" / "metrics.json").read_text())
    assert read == details
    assert list(tmp_path.rglob("*.part")) == []
    assert details["per_class"]["dog bark"]["mAP"] == pytest.approx(1.0)
    assert details["per_class"]["violin"]["mAP@0.9"] == pytest.approx(1.0)
    assert details["per_class"]["unseen"]["mAP"] is None
    assert details["diagnosis"]["num_events"] == 2
    assert details["diagnosis"]["missed"] == 0
    assert details["diagnosis"]["by_length"]["short"]["num_events"] == 2


def test_videos_without_anything(tmp_path: Path) -> None:
    details = detailed_metrics({"a": DETECTIONS["a"]}, VIDEOS[1:], NAMES)
    write_json(tmp_path / "metrics.json", details)
    assert details["diagnosis"]["mAP"] is None
    assert "–" in text(diagnosis_table(details["diagnosis"]))


def test_tables_say_what_is_in_them() -> None:
    metrics = {f"mAP@0.{i}": i / 10 for i in range(1, 10)} | {"mAP": 0.5}
    table = text(metrics_table({"mine": metrics}, "test mAP"))
    for value in ("50.00", "90.00", "Avg.", "mine"):
        assert value in table
    assert "10.00" not in table
    best = text(detections_table("b", FOUND, NAMES, max_rows=2))
    assert "dog bark" in best
    assert "best 2 of 3 detections" in best
    assert "violin" not in best
    diagnosis = detailed_metrics(DETECTIONS, VIDEOS, NAMES)["diagnosis"]
    assert "short, ≤ 5 s" in text(diagnosis_table(diagnosis))
    assert "right 66.7" in mistakes_line(diagnosis)
    assert "100.0 at 5" in mistakes_line(diagnosis)


def test_nan_never_reaches_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        write_json(tmp_path / "x.json", {"value": np.nan})
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "x.json.part"])


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "[link=file:///x]y", ":boom: $a$ <b>&"])
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a renderer of markup would make of them."""
    events = Events(
        torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([0]), torch.tensor([0.5])
    )
    show(detections_table(name, events, [name]))
    metrics = dict.fromkeys(TABLE_COLUMNS, 0.5)
    show(metrics_table({name: metrics}, f"title {name}", tested=f"file {name}"))
    printed = capsys.readouterr().out
    assert printed.count(name) == 5
