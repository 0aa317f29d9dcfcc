"""Main effects of a sweep's settings, against a formula and what the jobs were made of."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from helpers import ROOT, make_job
from loco.cli.tabulate import main
from loco.errors import LocoError
from loco.sweeps.job_record import Job, highest


def make_sweep(folder: Path, seeds: int = 1, noise: float = 0.0) -> Path:
    """All combinations of two parts and an attention; 0.03 by one part, −0.01 by cdp, 0 else."""
    random = np.random.default_rng(0)
    combinations = itertools.product(range(seeds), (0, 1), (0, 1), ("fixed", "cdp"))
    for number, (seed, a, b, attention) in enumerate(combinations):
        chosen = [name for name, on in (("mismatch", a), ("agreement", b)) if on]
        part = f"[{','.join(chosen)}]" if chosen else "none"
        mean = 0.4 + 0.03 * a - 0.01 * (attention == "cdp") + 0.1 * seed
        mean += noise * float(random.standard_normal())
        make_job(folder, number, {"part": part, "attention": attention, "seed": seed}, mean)
    return folder


def shown(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main([str(folder), "--effects", *options]) == 0
    return capsys.readouterr().out


def test_effects_are_what_the_jobs_were_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the seeds add; the first attention is what the other is compared with."""
    records = json.loads(shown(make_sweep(tmp_path / "s", seeds=2), capsys, "--format", "json"))
    found = {record["setting"]: (record["jobs"], record["mAP mean"]) for record in records}
    assert found == {
        "part=agreement": (8, pytest.approx(0.0, abs=1e-9)),
        "part=mismatch": (8, pytest.approx(0.03)),
        "attention=cdp": (8, pytest.approx(-0.01)),
    }


def test_interval_is_that_of_two_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a single setting: Student's interval with a common variance."""
    values = {"fixed": [0.41, 0.44, 0.40, 0.43], "cdp": [0.45, 0.47, 0.46, 0.42]}
    for i, (attention, means) in enumerate(values.items()):
        for j, mean in enumerate(means):
            make_job(tmp_path, 4 * i + j, {"attention": attention, "model.dim": 16 * j + 16}, mean)
    rows = list(csv.DictReader(io.StringIO(shown(tmp_path, capsys, "--format", "csv"))))
    effect = next(row for row in rows if row["setting"] == "attention=cdp")
    a, b = (np.array(values[name]) for name in ("cdp", "fixed"))
    pairs = a - b  # the widths take the pairs' means away
    half = 3.182446305284263 * pairs.std(ddof=1) / 2  # t(0.975, 3), √4
    assert float(effect["mAP mean"]) == pytest.approx(pairs.mean())
    assert float(effect["mAP low"]) == pytest.approx(pairs.mean() - half)
    assert float(effect["mAP high"]) == pytest.approx(pairs.mean() + half)


def test_lists_of_numbers_are_values_and_not_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("[400,80,120]", "[200,80,120]")
    for number, (size, seed) in enumerate(itertools.product(sizes, range(3))):
        mean = 0.4 if size == sizes[0] else 0.3
        make_job(tmp_path, number, {"data.generator.num_videos": size, "seed": seed}, mean)
    (record,) = json.loads(shown(tmp_path, capsys, "--format", "json"))
    assert record["setting"] == f"data.generator.num_videos={sizes[1]}"
    assert record["mAP mean"] == pytest.approx(-0.1)


def test_the_highest_of_a_curve_is_a_number_where_one_is(tmp_path: Path) -> None:
    """Also where an epoch's mAP is NaN."""
    folder = make_job(tmp_path, 0, {"seed": 0}, 0.4)
    (folder / "logs").mkdir()
    rows = ["epoch,step,val/mAP", "0,9,nan", "1,19,0.3", "2,29,0.2"]
    (folder / "logs" / "metrics.csv").write_text("\n".join(rows) + "\n")
    assert Job(folder).result("max val/mAP") == 0.3
    assert Job(folder).result("val/mAP") == 0.2
    assert math.isnan(highest(np.array([math.nan, math.nan])))


def test_nothing_of_the_test_where_validation_chooses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path / "s")
    assert main([str(sweep), "--only", "--column", "mAP@0.9"]) == 0
    assert capsys.readouterr().out.startswith("| part | attention | seeds | 0.9 |\n")
    assert shown(sweep, capsys, "--only", "--column", "mAP@0.9").startswith(
        "| setting | jobs | 0.9 |"
    )
    with pytest.raises(LocoError, match="--only shows the columns that --column names"):
        main([str(sweep), "--only"])


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In percent, bold where the interval misses 0."""
    text = shown(make_sweep(tmp_path / "s", seeds=2, noise=0.002), capsys)
    lines = text.splitlines()
    assert lines[0] == "| setting | jobs | 0.5 | 0.6 | 0.7 | 0.8 | 0.9 | Avg. |"
    (line,) = [line for line in lines if line.startswith("| part=mismatch | 8 |")]
    assert line.split(" | ")[-1].startswith("**+")
    (line,) = [line for line in lines if line.startswith("| part=agreement | 8 |")]
    assert "**" not in line.split(" | ")[-1]
    out = tmp_path / "effects.md"
    words = ["--effects", "--output", str(out), "--plot", str(tmp_path / "effects.svg")]
    assert main([str(tmp_path / "s"), *words]) == 0
    assert "with it less without" in (tmp_path / "effects.svg").read_text("utf-8")
    assert out.read_text("utf-8") == text


def test_what_cannot_be_told_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that always come together, too few jobs, one row, missing results, other options."""
    for number, part in enumerate(["none", "[mismatch,agreement]"] * 2):
        make_job(tmp_path / "together", number, {"part": part, "seed": number // 2}, 0.4)
    with pytest.raises(LocoError, match="apart: part=agreement, part=mismatch; each"):
        main([str(tmp_path / "together"), "--effects"])
    for number, part in enumerate(["none", "mismatch"]):
        make_job(tmp_path / "few", number, {"part": part, "seed": 0}, 0.4)
    with pytest.raises(LocoError, match="2 finished jobs cannot tell noise from 2 unknowns"):
        main([str(tmp_path / "few"), "--effects"])
    for number in range(3):
        make_job(tmp_path / "one", number, {"attention": "cdp", "seed": number}, 0.4)
    with pytest.raises(LocoError, match="no setting differs"):
        main([str(tmp_path / "one"), "--effects"])
    sweep = make_sweep(tmp_path / "s")
    with pytest.raises(LocoError, match="does not go with --html"):
        main([str(sweep), "--effects", "--html", str(tmp_path / "x.html")])
    with pytest.raises(LocoError, match="does not go with --by"):
        main([str(sweep), "--effects", "--by", "seed"])
    with pytest.raises(LocoError, match="latex: effects are markdown, csv or json"):
        main([str(sweep), "--effects", "--format", "latex"])
    once = (main([str(sweep), "--effects"]), capsys.readouterr().out)[1]
    assert main([str(sweep), str(sweep), "--effects"]) == 0  # jobs that two sweeps share
    assert capsys.readouterr().out == once
    results = sweep / sorted(path.name for path in sweep.iterdir())[0] / "metrics.json"
    content = json.loads(results.read_text("utf-8"))
    results.write_text(json.dumps(content | {"mAP": None}), "utf-8")
    with pytest.raises(LocoError, match="has no mAP"):
        main([str(sweep), "--effects"])


@pytest.mark.parametrize(
    ("name", "jobs", "changes", "together"), [("screen", 24, 12, 3), ("screen_joint", 8, 7, 2)]
)
def test_a_screening_tells_every_change_apart(
    name: str, jobs: int, changes: int, together: int
) -> None:
    """Each is on in half of the jobs, of two (or three) every combination comes equally often.

    Hence no change is mistaken for another one; where it holds of three, nor for what two others
    do only together.
    """
    file = ROOT / "conf" / "experiment" / f"better_{name}.yaml"
    text = OmegaConf.load(file).hydra.sweeper.params.part
    override = OverridesParser.create().parse_override(f"part={text}")
    choices = list(override.sweep_iterator())
    rows = [{str(p) for p in choice} if choice != "none" else set() for choice in choices]
    parts = sorted(set[str]().union(*rows) - set[str].intersection(*rows))
    assert len(rows) == jobs
    assert len(parts) == changes
    assert set(parts) <= {path.stem for path in (ROOT / "conf" / "part").glob("*.yaml")}
    signs = np.array([[1 if part in row else -1 for part in parts] for row in rows])
    for count in range(1, together + 1):
        for chosen in itertools.combinations(range(changes), count):
            assert np.prod(signs[:, chosen], axis=1).sum() == 0, chosen
