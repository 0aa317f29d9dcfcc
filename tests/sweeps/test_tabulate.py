"""Tables of sweeps: rows, numbers, formats, and the bootstrap over videos."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import ROOT, make_job, rescore
from loco.cli import main as loco
from loco.cli.tabulate import main
from loco.errors import LocoError
from loco.evaluation.bootstrap import WeightedMAP, resampled
from loco.evaluation.metrics import DEFAULT_THRESHOLDS, average_precision
from loco.reporting.paper import precision, similarity, timeline
from loco.runs.cost import training_cost
from loco.runs.paired import _read, differences
from loco.runs.results import detailed_metrics
from loco.runs.run_folder import RunFolder
from loco.structures import TimeGrid
from loco.sweeps.columns import COST_COLUMNS, MAP_COLUMNS
from loco.sweeps.job_record import plain_text
from loco.sweeps.render import RENDERERS
from loco.sweeps.report import write_sweep_report
from loco.sweeps.summary import caution
from loco.sweeps.tabulate import (
    Difference,
    Job,
    Row,
    Table,
    columns_of,
    find_row,
    make_rows,
    read_jobs,
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two attentions; of one a seed failed, of a third one all."""
    folder = tmp_path / "sweep"
    for number, (attention, seed, mean) in enumerate(
        [("fixed", 0, 0.2), ("fixed", 1, 0.3), ("cdp", 0, 0.4), ("cdp", 1, None), ("none", 0, None)]
    ):
        make_job(
            folder, number, {"attention": attention, "seed": seed, "experiment": "table2c"},
            mean, None if mean is not None else "out of memory",
        )  # fmt: skip
    return folder


def table_of(*folders: Path) -> Table:
    rows = make_rows(read_jobs(folders))
    return Table(rows, columns_of(rows))


def test_rows_and_numbers(sweep: Path) -> None:
    table = table_of(sweep)
    assert [row.settings for row in table.rows] == [
        {"attention": "fixed"}, {"attention": "cdp"}, {"attention": "none"},
    ]  # fmt: skip
    assert [(len(row.finished), row.failed) for row in table.rows] == [(2, 0), (1, 1), (0, 1)]
    average = MAP_COLUMNS[-1]
    assert table.mean(table.rows[0], average) == pytest.approx(34.0)
    assert table.deviation(table.rows[0], average) == pytest.approx(statistics.stdev([29.0, 39.0]))
    assert table.deviation(table.rows[1], average) is None
    assert [table.is_best(row, average) for row in table.rows] == [False, True, False]


def test_markdown(sweep: Path) -> None:
    lines = RENDERERS["markdown"](table_of(sweep)).splitlines()
    assert lines[0] == "| attention | seeds | 0.5 | 0.6 | 0.7 | 0.8 | 0.9 | Avg. |"
    assert lines[2].startswith("| fixed | 2 | 29.00 ± 7.07 |")
    assert lines[3].startswith("| cdp | 1 (1 failed) | **44.00** |")
    assert lines[4] == "| none | 0 (1 failed) |" + " failed |" * 6
    assert "sample standard deviation" in lines[-1]


def test_latex(sweep: Path) -> None:
    text = RENDERERS["latex"](table_of(sweep))
    assert r"fixed & 2 & 29.00 {\scriptsize$\pm$} 7.07" in text
    assert r"cdp & 1 (1 failed) & \textbf{44.00}" in text
    assert text.count(r"\\") == 4


def test_csv(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"](table_of(sweep)))))
    assert rows[0]["attention"] == "fixed"
    assert float(rows[0]["mAP"]) == pytest.approx(0.34)
    assert float(rows[0]["mAP deviation"]) == pytest.approx(statistics.stdev([0.29, 0.39]))
    assert (rows[2]["seeds"], rows[2]["failed"], rows[2]["mAP"]) == ("0", "1", "")


def test_json_and_data_frames_have_the_same_numbers(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(sweep)
    rows = json.loads(RENDERERS["json"](table))
    read = csv.DictReader(io.StringIO(RENDERERS["csv"](table)))
    assert [dict(row) for row in read] == [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in rows
    ]
    assert [(row["attention"], row["seeds"], row["failed"]) for row in rows] == [
        ("fixed", 2, 0), ("cdp", 1, 1), ("none", 0, 1),
    ]  # fmt: skip
    assert rows[2]["mAP"] is None
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LocoError, match="pip install pandas"):
        table.to_dataframe()
    monkeypatch.delitem(sys.modules, "pandas")
    pytest.importorskip("pandas")
    frame = table.to_dataframe()
    assert list(frame.columns) == list(rows[0])
    assert frame["mAP"].tolist()[:2] == [rows[0]["mAP"], rows[1]["mAP"]]
    assert frame["mAP"].isna().tolist() == [False, False, True]
    assert frame["mAP deviation"].dtype == frame["mAP"].dtype == float
    gaps = {1: Difference(0.1, -0.1, 0.2)}
    compared = Table(table.rows, table.columns, gaps, 0).to_dataframe()
    assert compared["difference high"].isna().tolist() == [True, False, True]
    assert compared["difference low"][1] == -0.1


def test_several_sweeps_share_their_rows(sweep: Path, tmp_path: Path) -> None:
    """What one sweep overrides another has by default; a job that both have counts once."""
    other = tmp_path / "other"
    make_job(other, 0, {"correspondence": "diagonal", "seed": 0}, 0.1)
    make_job(other, 1, {"correspondence": "learnable_gaussian", "seed": 0}, 0.4)
    rows = make_rows(read_jobs([sweep, other]))
    settings = [(row.settings["attention"], row.settings["correspondence"]) for row in rows]
    assert settings == [
        ("fixed", "learnable_gaussian"), ("cdp", "learnable_gaussian"),
        ("none", "learnable_gaussian"), ("cdp", "diagonal"),
    ]  # fmt: skip
    assert len(rows[1].finished) == 1
    assert rows[1].failed == 1


def test_rows_that_only_look_the_same(tmp_path: Path) -> None:
    for number, epochs in enumerate([5, 10]):
        make_job(tmp_path, number, {"seed": 0}, 0.1, config={"trainer": {"max_epochs": epochs}})
    jobs = read_jobs([tmp_path])
    with pytest.raises(LocoError, match=r"differ in trainer\.max_epochs; --by"):
        make_rows(jobs)
    rows = make_rows(jobs, by=["trainer.max_epochs"])
    assert [row.settings for row in rows] == [{"trainer.max_epochs": n} for n in ("5", "10")]
    with pytest.raises(LocoError, match=r"--by trainer.epochs: no job has it; there are trainer"):
        make_rows(jobs, by=["trainer.max_epochs", "trainer.epochs"])


def test_seeds_of_different_trainings_are_no_row(tmp_path: Path) -> None:
    """What a command leaves unsaid counts as well: an experiment's settings, the data."""
    for number, epochs in enumerate([5, 10]):
        words = {"seed": number, "experiment": f"e{epochs}"}
        make_job(tmp_path / "e", number, words, 0.1, config={"trainer": {"max_epochs": epochs}})
    with pytest.raises(LocoError, match=r"the same row, but differ in trainer\.max_epochs; --by"):
        make_rows(read_jobs([tmp_path / "e"]))

    for number, (root, digest) in enumerate([("here", "1f"), ("there", "1f"), ("x", "2c")]):
        words = {"seed": number, "data.root": root}
        job = make_job(tmp_path / "d", number, words, 0.1, config={"data": {"root": root}})
        noted = {"starts": [{"data": {"annotations": digest}}]}
        (job / "provenance.json").write_text(json.dumps(noted))
    jobs = read_jobs([tmp_path / "d"])
    (row,) = make_rows(jobs[:2])  # the same data on two machines
    assert len(row.finished) == 2
    with pytest.raises(
        LocoError, match=r"the same row, but are of different data.* --by data\.root"
    ):
        make_rows(jobs)
    assert len(make_rows(jobs, ["data.root"])) == 3


def test_rows_of_different_tests_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other events, or other videos of them; features may differ, which a study may be about."""
    for number, (events, test, features) in enumerate(
        [("1f", 5, "a"), ("1f", 5, "b"), ("2c", 5, "a"), ("1f", 4, "a")]
    ):
        job = make_job(tmp_path, number, {"data": f"d{number}"}, 0.1)
        data = {"annotations": events, "features": features, "videos": {"test": test}}
        (job / "provenance.json").write_text(json.dumps({"starts": [{"data": data}]}))
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "different events, so that their scores do not compare: d0, d1; d2; d3" in told.err
    rows = make_rows(read_jobs([tmp_path]))
    page = write_sweep_report(Table(rows, columns_of(rows)), tmp_path / "x.html", "x")
    assert "Rows were tested on different events" in page.read_text()
    assert caution(rows[:2]) == ""


def test_jobs_of_different_code_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, commit in enumerate(["a" * 40, "a" * 40, "a" * 40 + " with uncommitted changes"]):
        job = make_job(tmp_path, number, {"seed": number}, 0.1)
        (job / "provenance.json").write_text(json.dumps({"starts": [{"git": commit}]}))
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert "different versions of the code: aaaaaaaaaa (2 of the jobs), aaaaaaaaaa with unc" in told
    assert caution(make_rows(read_jobs([tmp_path / "job0", tmp_path / "job1"]))) == ""


def test_a_test_of_several_runs_is_no_sweep(tmp_path: Path) -> None:
    """Nor a job without a result: its runs' metrics lie below it."""
    job = make_job(tmp_path, 0, {"ckpt_path": "[a,b]"}, None)
    (job / "a").mkdir()
    (job / "a" / "metrics.json").write_text('{"mAP": 0.5}')
    with pytest.raises(LocoError, match="a test of several runs"):
        read_jobs([job])


def test_a_reference_without_a_number_has_no_differences(predicted: Path) -> None:
    metrics = json.loads((predicted / "job2" / "metrics.json").read_text())
    (predicted / "job2" / "metrics.json").write_text(json.dumps(metrics | {"mAP": None}))
    groups = [[predicted / "job0"], [predicted / "job2"]]
    assert differences(groups, 0, 5) == {}


def test_a_run_resumed_with_other_settings_is_no_repetition(tmp_path: Path) -> None:
    resumed = {"settings": "b", "resumed_from": "x"}
    for number, starts in enumerate([[{"settings": "b"}], [{"settings": "a"}, resumed]]):
        job = make_job(tmp_path, number, {"seed": number}, 0.1)
        (job / "provenance.json").write_text(json.dumps({"starts": starts}))
    with pytest.raises(LocoError, match=r"the same row, but job1 was resumed with other settings"):
        make_rows(read_jobs([tmp_path]))
    starts = [{}, {"resumed_from": "x"}]  # an earlier version noted no settings
    (tmp_path / "job1" / "provenance.json").write_text(json.dumps({"starts": starts}))
    assert len(make_rows(read_jobs([tmp_path]))[0].finished) == 2


def test_no_result_is_dropped_for_another_one(tmp_path: Path) -> None:
    """Two tests of one seed: of other weights, or of the same with another outcome."""
    for number, checkpoint in enumerate(["a.ckpt", "b.ckpt"]):
        job = make_job(tmp_path / "t", number, {"ckpt_path": checkpoint}, 0.1)
        noted = {"starts": [{"checkpoint": checkpoint}]}
        (job / "provenance.json").write_text(json.dumps(noted))
        make_job(tmp_path / "u", number, {"seed": 0}, 0.1 + 0.1 * number)
    with pytest.raises(LocoError, match=r"row and seed, but differ in ckpt_path; --by ckpt_path"):
        make_rows(read_jobs([tmp_path / "t"]))
    assert len(make_rows(read_jobs([tmp_path / "t"]), ["ckpt_path"])) == 2
    with pytest.raises(LocoError, match="row and seed, but have different results"):
        make_rows(read_jobs([tmp_path / "u"]))


def test_a_job_that_failed_is_not_finished_by_what_it_left(sweep: Path) -> None:
    """A test that could not use all videos leaves metrics.json, and the reason."""
    (sweep / "job2" / "failed.txt").write_text("1 of 6 videos could not be used:\n  x")
    row = make_rows(read_jobs([sweep]))[1]
    assert (row.failed, row.finished) == (2, [])


DAMAGED = {
    "metrics.json": ("{", "metrics.json: expected JSON"),
    ".hydra/hydra.yaml": ("", "expected what Hydra notes of a job"),
    "logs/metrics.csv": (b"step,\xff\n1,2\n", "expected the log of a CSV logger"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, message = DAMAGED[name]
    for number in range(2):
        make_job(tmp_path, number, {"seed": number}, 0.1)
    file = tmp_path / "job1" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert loco(["tabulate", str(tmp_path), "--column", "max val/mAP"]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    file.write_text("[]")
    if name == "metrics.json":
        assert loco(["tabulate", str(tmp_path)]) == 1
        assert "metrics.json: expected numbers by name, got []" in capsys.readouterr().err


def test_a_setting_that_a_row_has_not(tmp_path: Path) -> None:
    make_job(tmp_path, 0, {"attention.window_size": 4}, 0.1)
    make_job(tmp_path, 1, {"attention": "global"}, 0.1, config={"attention": {"_target_": "x"}})
    assert make_rows(read_jobs([tmp_path]))[1].settings["attention.window_size"] == "–"


def test_the_same_value_in_other_words_is_the_same_row(tmp_path: Path) -> None:
    words = ({"rate": "1.0", "big": "True"}, {"rate": "1", "big": "true"}, {"rate": "1e-3"})
    for number, overrides in enumerate(words):
        job = {**overrides, "seed": number}
        make_job(tmp_path, number, job, 0.1, config={"rate": 1.0, "big": None})
    rows = make_rows(read_jobs([tmp_path]))
    assert [list(row.settings.values()) for row in rows] == [["1", "true"], ["0.001", "–"]]
    assert find_row(rows, "rate=1.00") == 0
    assert plain_text("['batch_8', 'a b', \"x\"]") == "[batch_8,'a b',x]"
    assert [plain_text(text) for text in ('"cdp"', "'null'", "'1'")] == ["cdp", "'null'", "'1'"]


def test_reference(sweep: Path) -> None:
    rows = table_of(sweep).rows
    assert find_row(rows, "attention=cdp") == 1
    with pytest.raises(LocoError, match=r"fits 0 rows, .* one of: attention=fixed; attention=cdp"):
        find_row(rows, "attention=global")


def test_a_row_of_lists_is_named_as_it_is_written(tmp_path: Path) -> None:
    """Theirs are no commas between settings, and their spaces make no other row."""
    for number, (part, balance) in enumerate(
        [("none", "{at: [1, 2], until: 1}"), ("[a,b]", "null"), ("[a, b]", "null"), ("a", "null")]
    ):
        make_job(tmp_path, number, {"part": part, "balance": balance, "seed": number}, 0.1)
    rows = make_rows(read_jobs([tmp_path]))
    assert [row.settings["part"] for row in rows] == ["none", "[a,b]", "a"]
    assert find_row(rows, "part=[a,b]") == 1
    assert find_row(rows, "balance=null, part=[a, b]") == 1
    assert find_row(rows, "balance={at: [1, 2], until: 1},part=none") == 0
    assert [find_row(rows, row.name.replace("+", ",")) for row in rows] == [0, 1, 2]


def test_costs(tmp_path: Path) -> None:
    for number, (attention, gflop) in enumerate([("global", 20.0), ("cdp", 12.5)]):
        folder = make_job(tmp_path, number, {"attention": attention})
        cost = {"parameters": 66_000_000, "gflop": gflop, "step_s": 2, "detect_s": 0.1}
        (folder / "cost.json").write_text(json.dumps(cost | {"device": "cpu"}))
    table = table_of(tmp_path)
    assert table.columns == COST_COLUMNS
    text = RENDERERS["markdown"](table)
    assert "| cdp | 1 | 66.00 | **12.5** | 2.000 | 100.0 |" in text  # bold where rows differ
    assert "What the models cost" in text


def test_what_is_counted_has_no_deviation(tmp_path: Path) -> None:
    """Unless seeds disagree; what is measured has one, 0 or not."""
    for seed in (0, 1):
        for number, (attention, gflop) in enumerate([("cdp", 12.5), ("global", 20 + seed)]):
            settings = {"attention": attention, "seed": seed}
            folder = make_job(tmp_path, 2 * seed + number, settings)
            cost = {"parameters": 66_000_000, "gflop": gflop, "step_s": 2, "detect_s": 0.1}
            (folder / "cost.json").write_text(json.dumps(cost | {"device": "cpu"}))
    text = RENDERERS["markdown"](table_of(tmp_path))
    assert "| cdp | 2 | 66.00 | **12.5** | 2.000 ± 0.000 |" in text
    assert "| global | 2 | 66.00 | 20.5 ± 0.7 | 2.000 ± 0.000 |" in text


def test_more_columns(sweep: Path) -> None:
    log = sweep / "job0" / "logs" / "metrics.csv"
    log.parent.mkdir()
    log.write_text("step,epoch,lcc/sigma,val/mAP\n9,0,1.0,\n9,0,,0.1\n19,1,1.25,\n")
    rows = make_rows(read_jobs([sweep]))
    table = Table(rows, columns_of(rows, ["lcc/sigma", "mAP@0.1"]))
    lines = RENDERERS["markdown"](table).splitlines()
    assert lines[0].startswith("| attention | seeds | lcc/sigma | 0.1 | 0.5 |")
    assert lines[2].startswith("| fixed | 2 | – | 25.00 ± 7.07 |")  # the other seed has no log
    assert lines[3].startswith("| cdp | 1 (1 failed) | – | **40.00** |")
    only = make_rows(read_jobs([sweep / "job0"]))
    assert columns_of(only, ["lcc/sigma"])[0].best is None
    assert only[0].values("lcc/sigma") == [1.25]
    assert not Table(rows, table.columns).is_best(rows[0], table.columns[0])
    with pytest.raises(LocoError, match=r"--column loss: no job has it; there are: .*mAP@0.5"):
        columns_of(rows, ["loss"])


# -- the bootstrap --------------------------------------------------------------------------------


def random_columns(
    videos: int, classes: int, predictions: int, seed: int = 0, ties: bool = False
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, count in (("gt", 3 * videos), ("pred", predictions * videos)):
        start = random.uniform(0, 50, count)
        columns[f"{name}_video"] = random.integers(videos, size=count)
        columns[f"{name}_labels"] = random.integers(classes, size=count)
        columns[f"{name}_segments"] = np.stack([start, start + random.uniform(1, 30, count)], 1)
    scores = random.uniform(size=predictions * videos)
    columns["pred_scores"] = scores.round(1) if ties else scores
    return columns


def duplicated(columns: dict[str, Any], weights: np.ndarray) -> dict[str, Any]:
    """The test set in which each video really stands as often as its weight says."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    number = 0
    for video, weight in enumerate(weights):
        for _ in range(int(weight)):
            for prefix in ("pred", "gt"):
                rows = columns[f"{prefix}_video"] == video
                for name in columns:
                    if name.startswith(prefix):
                        part = columns[name][rows]
                        parts[name].append(
                            np.full(len(part), number) if name.endswith("_video") else part
                        )
            number += 1
    return {name: np.concatenate(part) for name, part in parts.items()}


def mean_ap(columns: dict[str, Any], classes: int) -> float:
    matrix = average_precision(**columns, tiou_thresholds=DEFAULT_THRESHOLDS, num_classes=classes)
    return float(matrix[:, ~np.isnan(matrix).any(0)].mean())


def test_weights_are_repetitions() -> None:
    columns = random_columns(videos=12, classes=4, predictions=20)
    run = WeightedMAP(columns, 12)
    assert run(np.ones(12)) == pytest.approx(mean_ap(columns, 4), abs=1e-12)
    random = np.random.default_rng(1)
    for _ in range(5):
        weights = np.bincount(random.integers(12, size=12), minlength=12)
        expected = mean_ap(duplicated(columns, weights), 4)
        assert run(weights) == pytest.approx(expected, abs=1e-12)


def test_tied_scores_follow_the_metric_where_all_count_once() -> None:
    columns = random_columns(videos=12, classes=4, predictions=20, ties=True)
    assert WeightedMAP(columns, 12)(np.ones(12)) == pytest.approx(mean_ap(columns, 4), abs=1e-12)


def test_a_video_without_anything() -> None:
    columns = random_columns(videos=3, classes=2, predictions=5)
    run = WeightedMAP(columns, 4)  # the fourth has no event and no prediction
    assert np.isnan(run(np.array([0, 0, 0, 4])))
    assert run(np.array([1, 1, 1, 1])) == run(np.array([1, 1, 1, 9]))


def test_resamples_are_paired_and_repeatable() -> None:
    columns = random_columns(videos=20, classes=3, predictions=10)
    run = WeightedMAP(columns, 20)
    values = resampled([run, run], resamples=30, seed=2)
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values, resampled([run, run], resamples=30, seed=2))
    assert values[0].std() > 0
    assert abs(values[0].mean() - run(np.ones(20))) < 4 * values[0].std()


@pytest.mark.slow
def test_a_thousand_resamples_of_the_real_size_take_seconds() -> None:
    """2,167 videos, 100 classes, 100 predictions a video."""
    run = WeightedMAP(random_columns(2167, 100, 100), 2167)
    began = time.perf_counter()
    resampled([run], resamples=100)
    assert (time.perf_counter() - began) * 10 < 60


# -- the script -----------------------------------------------------------------------------------


def tabulate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "tabulate.py", *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_script(sweep: Path, tmp_path: Path) -> None:
    done = tabulate(sweep)
    assert done.returncode == 0, done.stderr
    assert "| cdp | 1 (1 failed) |" in done.stdout
    target = tmp_path / "new" / "table.tex"
    assert tabulate(sweep, "--format", "latex", "--output", target).returncode == 0
    assert r"\toprule" in target.read_text()
    for words in (["nowhere"], [sweep, "--reference", "attention=x"]):
        done = tabulate(*words)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def predicted(sweep: Path, tmp_path: Path) -> Path:
    """The same, with predictions and annotations as files; those of `cdp` are the better ones."""
    random = np.random.default_rng(0)
    database = {
        f"v{i}": {
            "duration": 60.0, "subset": "test",
            "annotations": [
                {"segment": [float(s), float(s) + 10], "label": f"c{c}", "label_id": int(c)}
                for s, c in zip(random.uniform(0, 45, 3), random.permutation(3), strict=True)
            ],
        }
        for i in range(30)
    }  # fmt: skip
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps({"database": database}))
    for job in read_jobs([sweep]):
        if job.status != "finished":
            continue
        noise = 6.0 if job.value("attention") == "fixed" else 1.0
        found = {
            video: [
                {
                    "segment": [max(a["segment"][0] + random.normal(0, noise), 0), 60.0]
                    if noise > 5 else [a["segment"][0], a["segment"][1] + noise],
                    "label": a["label"], "label_id": a["label_id"], "score": random.uniform(),
                }
                for a in entry["annotations"]
            ]
            for video, entry in database.items()
        }  # fmt: skip
        (job.folder / "predictions.json").write_text(json.dumps({"database": found}))
        data = {
            "_target_": "loco.data.datamodule.AVDataModule", "root": str(tmp_path),
            "annotations": str(annotations),
            "layout": {
                "_target_": "loco.data.features.FeatureLayout", "visual": ["{id}_v.npy"],
                "audio": ["{id}_a.npy"], "fps": 16, "window": 16, "stride": 4,
            },
        }  # fmt: skip
        (job.folder / "config.yaml").write_text(json.dumps({"data": data, "seed": int(job.seed)}))
        rescore(job.folder)
        run = RunFolder(job.folder)
        details = detailed_metrics(run.predictions, run.test_videos, ["c0", "c1", "c2"])
        (job.folder / "metrics.json").write_text(json.dumps(run.metrics | details))
    return sweep


def test_intervals_over_seeds_too(predicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the formula by hand; the baselines are rows of their own, and have no seeds."""
    rows = make_rows(read_jobs([predicted]))
    groups = [[job.folder for job in row.finished] for row in rows]
    videos, both = (
        differences(groups, 1, 40, over_seeds=over_seeds, baselines=True)
        for over_seeds in (False, True)
    )
    assert set(both) == {0, 3}  # no training videos, so no constant predictor
    assert [gap.seeds for gap in both.values()] == [1, 0]
    values = resampled(_read([RunFolder(f) for group in groups for f in group]), 40, 0)
    scores = [RunFolder(folder).metrics["mAP"] for group in groups for folder in group]
    # the reference has seed 0 alone, and so has the pair
    half = NormalDist().inv_cdf(0.975) * (values[0] - values[2]).std()
    gap = scores[0] - scores[2]
    assert videos[0] == pytest.approx((gap, gap - half, gap + half, 1))
    assert math.isnan(both[0].low)
    assert math.isnan(both[0].high)
    assert math.isnan(both[3].low)
    words = ["--reference", "attention=cdp", "--resamples", "40", "--over-seeds", "--baselines"]
    drawn = predicted.parent / "differences.svg"
    assert main([str(predicted), *words, "--plot", str(drawn)]) == 0
    picture = drawn.read_text("utf-8")
    for text in ("Average mAP less that of cdp", "fixed", "oracle of video-level classes"):
        assert f">{text}" in picture, text
    table = capsys.readouterr().out
    oracle = next(line for line in table.splitlines() if line.startswith("| oracle of video"))
    assert oracle.startswith("| oracle of video-level classes | – | ")
    assert "**" not in oracle  # it knows the answer, and does not compete
    assert "**" in table
    assert "interval over the test videos and the seeds, bold where it misses 0." in table
    assert "(no interval; 1 shared seed) |" in table
    with pytest.raises(LocoError, match="--over-seeds is of the intervals"):
        main([str(predicted), "--over-seeds"])
    with pytest.raises(LocoError, match="--plot draws the intervals of --reference or --effects"):
        main([str(predicted), "--plot", str(drawn)])


def test_runs_of_other_events_are_not_compared(predicted: Path, tmp_path: Path) -> None:
    """The same ids are not the same videos: their events, and what metrics.json says, count."""
    groups = [[predicted / "job0"], [predicted / "job2"]]
    assert differences(groups, 0, 5)
    config = json.loads((predicted / "job2" / "config.yaml").read_text())
    content = json.loads(Path(config["data"]["annotations"]).read_text())
    for entry in content["database"].values():
        for annotation in entry["annotations"]:
            annotation["segment"] = [at + 5.0 for at in annotation["segment"]]
    config["data"]["annotations"] = str(tmp_path / "others.json")
    (tmp_path / "others.json").write_text(json.dumps(content))
    (predicted / "job2" / "config.yaml").write_text(json.dumps(config))
    for tested in (groups, [[predicted / "job2"]] * 2):
        with pytest.raises(LocoError, match="the annotations have changed since"):
            differences(tested, 0, 5)
    rescore(predicted / "job2")
    with pytest.raises(LocoError, match=r"job2 was tested on other events of 'v0' than .*job0"):
        differences(groups, 0, 5)
    runs = {name: RunFolder(predicted / name) for name in ("job0", "job2")}
    for draw in (precision, lambda both: timeline(both, "v3"), lambda both: similarity(both, "v3")):
        with pytest.raises(LocoError, match="was tested on other events"):
            draw(runs)


def test_a_setting_that_there_is_no_longer_is_a_line(
    predicted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = predicted / "job2" / "config.yaml"
    config = json.loads(file.read_text())
    config["data"]["gone"] = 1
    file.write_text(json.dumps(config))
    assert loco(["tabulate", str(predicted), "--reference", "attention=fixed"]) == 1
    assert capsys.readouterr().err.strip() == "error: config: AVDataModule takes no gone"


@pytest.mark.slow
def test_paired_differences(predicted: Path) -> None:
    """The whole way: predictions and annotations from files; a better run is seen to be better."""
    done = tabulate(predicted, "--reference", "attention=fixed", "--resamples", "50")
    assert done.returncode == 0, done.stderr
    header, _, fixed, cdp, none = done.stdout.splitlines()[:5]
    assert header.endswith("| Δ Avg. |")
    assert fixed.endswith("| reference |")
    assert re.search(r"\| \*\*\+\d+\.\d\d \(\+.*; 1 shared seed\)\*\* \|$", cdp)
    assert none.endswith("| – |")
    assert "less that of attention=fixed" in done.stdout


def test_what_a_training_took(finished_run: Path) -> None:
    """Its folder notes it, and tables show it last."""
    job = Job(finished_run)
    assert set(job.cost) == {"parameters", "gflop", "epoch_s"}
    assert job.result("parameters") > 1000
    assert job.result("gflop") > 0
    row = Row({}, finished=[job])
    names = [column.title for column in columns_of([row], ["parameters", "mAP@0.1"])]
    assert names == ["0.1", "0.5", "0.6", "0.7", "0.8", "0.9", "Avg.", "parameters (M)"]
    with pytest.raises(LocoError, match="epoch_s"):
        columns_of([row], ["gflops"])


def test_a_net_without_such_a_forward_ends_no_training() -> None:
    """Whatever it raises, the rest of what a training took is noted."""

    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, batch: Any) -> Any:
            return batch.visual

        def eval(self) -> Any:
            raise RuntimeError("not this one")

    cost = training_cost(Mine(), (4, 3), 8, TimeGrid(25, 24, 8), [2.0, 4.0])
    assert cost == {"parameters": 3, "epoch_s": 3.0}
