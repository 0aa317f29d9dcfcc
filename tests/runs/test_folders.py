"""Folders of runs and sweeps are named by what they hold, and nobody gets another's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from loco.errors import LocoError
from loco.runs.folders import (
    MAX_NAME,
    job_folder,
    job_name,
    make_unique,
    read_sweep,
    set_aside,
    sweep_folder,
    write_sweep,
)


def test_names_are_the_overrides() -> None:
    assert job_name(["attention=cdp", "seed=0"]) == "attention-cdp+seed-0"
    assert job_name(["+trainer.limit=0.5", "~logger", "optimizer.lr=1e-3"]) == (
        "trainer.limit-0.5+optimizer.lr-1e-3"
    )
    assert job_name(["experiment=table2a_components"]) == "defaults"


def test_what_is_swept_comes_first() -> None:
    overrides = ["trainer.max_epochs=5", "seed=1", "attention=cdp"]
    name = job_name(overrides, swept=["attention", "seed"])
    assert name == "seed-1+attention-cdp+trainer.max_epochs-5"


def test_where_a_job_reads_is_not_what_it_is() -> None:
    """A sweep that is resumed on another machine finds its jobs."""
    there = job_name(["seed=1", "data.root=/there/x", "resume_sweep=false"])
    assert there == job_name(["seed=1", "data.root=/here", "resume_sweep=true"]) == "seed-1"
    # unless it is swept: each has a folder then
    names = {job_name([f"experiment={e}"], ["experiment"]) for e in ("a", "b")}
    assert names == {"experiment-a", "experiment-b"}
    roots = {job_name([f"data.root=/{root}/x"], ["data.root"]) for root in "ab"}
    assert len(roots) == 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["attention=cdp", "seed=0"],
        ["data.layout.visual=['{id}.npy', \"a b\"]", "x=../../etc/passwd"],
        [f"group{i}.some_setting={i}" for i in range(40)],
        ["x=" + "ä" * 500],
    ],
)
def test_names_are_safe_and_short(overrides: list[str]) -> None:
    name = job_name(overrides)
    assert re.fullmatch(r"[A-Za-z0-9_.+-]+", name)
    assert len(name) <= MAX_NAME
    # ckpt_path=PATH can be typed as it is: neither a shell nor Hydra needs quotes
    parsed = OverridesParser.create().parse_override(f"ckpt_path=multirun/{name}/last.ckpt")
    assert parsed.value() == f"multirun/{name}/last.ckpt"


def test_names_that_were_cut_differ() -> None:
    long = [f"group{i}.some_setting={i}" for i in range(40)]
    names = {job_name(["seed=0", *long, f"last={i}"], swept=["seed"]) for i in range(10)}
    assert len(names) == 10
    assert all(name.startswith("seed-0+h") for name in names)
    assert job_name(["x=a/b"]) != job_name(["x=a_b"])


def test_a_long_name_keeps_the_last_parts_of_what_is_swept() -> None:
    target = "correspondence.target"
    overrides = [f"{target}.normalize=true", "correspondence.divergence=kl", f"{target}.sigma=0.3"]
    name = job_name([*overrides, "seed=0"], [o.split("=")[0] for o in overrides] + ["seed"])
    assert re.fullmatch(r"normalize-true\+divergence-kl\+sigma-0.3\+seed-0\+h[0-9a-f]{8}", name)
    same_ends = [f"group{i}.with_a_long_enough_name.size={i}" for i in range(4)]
    assert job_name(same_ends).startswith("group0.with_a_long_enough_name.size-0")


def test_folders_are_unique(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_unique(tmp_path / "a" / "12-00-00"), range(40)))
    assert len(set(made)) == 40
    assert tmp_path / "a" / "12-00-00-40" in made


def test_a_job_folder_is_shared_with_nobody(tmp_path: Path) -> None:
    first, second = (job_folder(str(tmp_path), ["seed=0"], resume=False) for _ in range(2))
    assert (first, second) == ("seed-0", "seed-0-2")
    assert job_folder(str(tmp_path), ["seed=0"], resume=True) == "seed-0"


def test_a_requeued_job_goes_on_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_folder(str(tmp_path), ["seed=0"], resume=False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job_folder(str(tmp_path), ["seed=0"], resume=False) == "seed-0"


def test_what_is_set_aside_is_a_whole_run(tmp_path: Path) -> None:
    """With the folders of its tasks; other runs below it stay."""
    run = tmp_path / "run"
    files = [
        "metrics.json", "failed.txt", "checkpoints/last.ckpt", ".hydra/config.yaml",
        "avel/metrics.json", "avel/checkpoints/best.ckpt", "other/metrics.json",
        "other/.hydra/config.yaml", "notes.txt",
    ]  # fmt: skip
    for name in files:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    aside = set_aside(run)
    assert aside == tmp_path / "run-earlier"
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {*files[-3:]}
    assert {str(p.relative_to(aside)) for p in aside.rglob("*") if p.is_file()} == {*files[:-3]}
    assert set_aside(run) is None


def test_which_sweep_is_resumed(tmp_path: Path) -> None:
    for name, began, overrides in (
        ("a", 1.0, ["seed=0,1", "attention=cdp"]),
        ("b", 3.0, ["attention=cdp", "seed=0,1", "resume_sweep=true"]),
        ("c", 2.0, ["attention=cdp", "seed=0,1"]),
        ("d", 4.0, ["seed=0,1,2"]),
    ):
        write_sweep(tmp_path / name, overrides, ["lambda"], began)
    command = ["attention=cdp", "seed=0,1"]
    new = str(tmp_path / "new")
    assert sweep_folder(new, command, resume=True) == tmp_path / "b"
    assert sweep_folder(new, ["seed=3"], resume=True) == tmp_path / "new"
    assert sweep_folder(new, command, resume=False) == tmp_path / "new-2"
    assert sweep_folder(new, command, resume=str(tmp_path / "d")) == tmp_path / "d"
    with pytest.raises(LocoError, match="expected true or a sweep's folder"):
        sweep_folder(new, command, resume="nowhere")
    record = read_sweep(tmp_path / "a")
    assert record is not None
    assert record["swept"] == ["lambda", "seed"]
