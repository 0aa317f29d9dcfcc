"""The notebooks: outputs stripped, and each runs top to bottom."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from omegaconf import OmegaConf

from helpers import ROOT, make_job
from loco.errors import LocoError
from loco.runs.folders import make_unique
from loco.runs.run_folder import RunFolder
from loco.sweeps import notebooks as starting_points
from loco.sweeps.notebooks import finished_sweep, twin_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = pytest.mark.slow


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks make their small runs, once for all of them."""
    return tmp_path_factory.mktemp("notebooks") / "outputs"


def execute(name: str, **environment: str | Path) -> tuple[str, int]:
    """Run a notebook in a kernel of its own; what it printed, and the number of its figures."""
    path = ROOT / "notebooks" / name
    notebook: Any = nbformat.read(path, 4)
    client = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    settings = {key: str(value) for key, value in environment.items()}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (settings | {"OMP_NUM_THREADS": "1"}).items():
            patch.setenv(key, value)
        client.execute(env=dict(os.environ))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert all(output.output_type != "error" for output in outputs)
    data = [output.get("data", {}) for output in outputs]
    text = "".join(output.get("text", "") for output in outputs)
    text += "".join(part.get("text/markdown", "") for part in data)
    return text, sum("image/png" in part for part in data)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    notebook: Any = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert not any(line.startswith(("def ", "class ")) for line in cell.source.split("\n"))


def test_there_are_four() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.slow
def test_localization_of_a_finished_run(finished_run: Path) -> None:
    text, figures = execute("02_localization.ipynb", LOCO_RUN=finished_run)
    assert "5 test videos" in text
    assert figures >= 9


@SMALL
def test_localization_makes_a_run(outputs: Path) -> None:
    text, figures = execute("02_localization.ipynb", LOCO_OUTPUTS=outputs)
    assert "training in small" in text
    assert figures >= 9


@SMALL
def test_cross_similarity(outputs: Path) -> None:
    text, figures = execute("01_cross_similarity.ipynb", LOCO_OUTPUTS=outputs)
    assert "without LCC: correspondence-none" in text
    assert figures == 5
    assert "training in small" not in execute("01_cross_similarity.ipynb", LOCO_OUTPUTS=outputs)[0]


@SMALL
def test_cross_similarity_without_a_twin(finished_run: Path) -> None:
    text, figures = execute("01_cross_similarity.ipynb", LOCO_RUN=finished_run)
    assert "untrained encoders stand in" in text
    assert figures == 5


@SMALL
def test_ablations(outputs: Path) -> None:
    text, figures = execute("03_ablations.ipynb", LOCO_OUTPUTS=outputs)
    assert "4 settings, 4 jobs" in text
    assert "| cdp | learnable_gaussian | 1 |" in text
    assert figures == 5


@SMALL
def test_your_own_data() -> None:
    text, figures = execute("04_your_own_data.ipynb")
    assert "data.max_length=128" in text
    assert "-->" in text
    assert figures == 2


def test_what_they_start_from(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def train(folder: Path, *words: str) -> None:
        made.append(folder)
        folder.mkdir(parents=True)
        for name in ("config.yaml", "metrics.json"):
            (folder / name).write_text("{}")

    monkeypatch.setattr(starting_points, "_train", train)
    monkeypatch.setenv("LOCO_OUTPUTS", str(tmp_path / "outputs"))
    small = tmp_path / "outputs" / "notebooks" / "run"
    assert starting_points.finished_run().path == small
    assert made == [small]

    runs = tmp_path / "outputs" / "train"
    make_unique(runs / "unfinished")
    (runs / "newest").symlink_to(finished_run)
    assert starting_points.finished_run().path == runs / "newest"
    assert starting_points.finished_run(finished_run).path == finished_run
    assert twin_of(RunFolder(runs / "newest"), "correspondence=none") is None
    assert len(made) == 1
    with pytest.raises(LocoError, match="finished run"):
        starting_points.finished_run(tmp_path)
    with pytest.raises(LocoError, match="finished jobs"):
        finished_sweep(tmp_path)


def test_a_sweep_that_measured_costs_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCO_OUTPUTS", str(tmp_path / "outputs"))
    sweeps = tmp_path / "multirun" / "train"
    for number in range(2):
        make_job(sweeps / "trained", number, {"seed": number}, 0.5)
        (make_job(sweeps / "measured", number, {"seed": number}) / "cost.json").write_text("{}")
    os.utime(sweeps / "trained", (0, 0))
    assert finished_sweep() == sweeps / "trained"
    with pytest.raises(LocoError, match="finished jobs"):
        finished_sweep(sweeps / "measured")


def test_lcc_is_asked_for(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer run without LCC is passed over, and refused where it is the one that was named."""
    monkeypatch.setenv("LOCO_OUTPUTS", str(tmp_path))
    with_lcc = shutil.copytree(finished_run, tmp_path / "train" / "with")
    without = shutil.copytree(finished_run, tmp_path / "train" / "without")
    config = OmegaConf.load(without / "config.yaml")
    config["correspondence"] = {
        "_target_": "loco.detectors.loco.correspondence.NoCorrespondence", "_partial_": True
    }  # fmt: skip
    OmegaConf.save(config, without / "config.yaml")
    os.utime(with_lcc, (0, 0))
    assert starting_points.finished_run().path == without
    assert starting_points.finished_run(with_lcc=True).path == with_lcc
    with pytest.raises(LocoError, match="without was trained without LCC"):
        starting_points.finished_run(without, with_lcc=True)
