"""The wheel, installed into a fresh environment and used from another folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import loco
from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL
from loco.cli import COMMANDS

pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, fails: bool = False) -> str:
    """A command's standard output; its errors where it is to fail."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=clean | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, as a build leaves files behind."""
    folder = tmp_path_factory.mktemp("source") / "loco"
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "wheels"]
    here = importlib.util.find_spec("setuptools") is not None
    run(*words, *(["--no-build-isolation"] if here else []), ".", cwd=source)
    (path,) = source.glob("wheels/*.whl")
    return path


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment of a wheel, its dependencies taken from this one; its bin folder."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel]
    run(*words, cwd=folder)
    # folders alone: a loco that is editable there stands in a .pth, which is not read from here
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    bin_folder = install(wheel, folder)
    file = run(bin_folder / "python", "-c", "import loco; print(loco.__file__)", cwd=folder)
    assert Path(file.strip()).is_relative_to(folder)
    return bin_folder


def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert f"-{loco.__version__}-" in wheel.name
    inside = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"loco/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in inside
    modules = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "loco").rglob("*.py")
    }
    assert {name for name in inside if name.endswith(".py")} == modules
    assert "loco/py.typed" in inside
    templates = {
        path.relative_to(ROOT / "src").as_posix() for path in ROOT.glob("src/loco/*/templates/*")
    }
    assert {name for name in inside if "/templates/" in name} == templates
    assert {"loco/reporting/templates/run.html", "loco/runs/templates/base.html"} <= templates
    assert {name.partition("/")[0].partition("-")[0] for name in inside} == {"loco", "loco_dave"}


def test_what_is_in_the_source_distribution(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=source)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"setup.py", "conf/train.yaml", "conf/data/base.yaml", "src/loco/cli/train.py",
            "src/loco/reporting/templates/run.html", "LICENSE"} <= inside  # fmt: skip


def test_the_commands_of_an_installed_package(bin_folder: Path, tmp_path: Path) -> None:
    command = bin_folder / "loco"
    page = run(command, "--help", cwd=tmp_path)
    assert all(name in page for name in COMMANDS)
    assert "did you mean train?" in run(command, "trian", cwd=tmp_path, fails=True)

    run(command, "make-synthetic", "--root", "made", "--videos", "12", "4", "5", "--classes", "3",
        "--channels-visual", "4", "3", "--channels-audio", "5", cwd=tmp_path)  # fmt: skip
    assert (tmp_path / "made" / "annotations.json").is_file()
    described = run(command, "describe", "made/annotations.json", cwd=tmp_path)
    assert "a step is" in described

    tiny = ["data.root=made", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]
    run(command, "train", *tiny, "hydra.run.dir=first", cwd=tmp_path)
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    run(command, "evaluate", "ckpt_path=first", "output_dir=again", "report=false", cwd=tmp_path)
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == metrics
    run(command, "predict", "ckpt_path=first", "data.root=made/features", "output_dir=predicted",
        cwd=tmp_path)  # fmt: skip
    assert (tmp_path / "predicted" / "predictions.json").is_file()
    run(command, "report", "first", cwd=tmp_path)
    assert "loco train data.root=made" in (tmp_path / "first" / "report.html").read_text()

    # settings of the user's own, beside those of the package
    own = tmp_path / "mine" / "attention" / "narrow.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("defaults: [fixed]\nwindow_size: 2\n")
    words = ["--config-dir", "mine", "-m", "attention=narrow,global", *tiny]
    run(command, "train", *words, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert "window_size: 2" in run(
        command, "train", "--config-dir", "mine", "attention=narrow", "--cfg", "job", cwd=tmp_path
    )
    table = run(command, "tabulate", "sweep", cwd=tmp_path)
    assert "| narrow | 1 |" in table


def test_processes_and_launchers(bin_folder: Path, tmp_path: Path) -> None:
    """Whatever starts the command's task once more finds it."""
    command = bin_folder / "loco"
    tiny = ["data.root=made", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    run(command, "train", *tiny, *two, "hydra.run.dir=two", cwd=tmp_path)
    assert (tmp_path / "two" / "metrics.json").is_file()
    for launcher in ("joblib", "submitit_local"):
        if importlib.util.find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"):
            words = [f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}", "seed=0"]
            done = run(command, "train", "-m", *tiny, *words, cwd=tmp_path)
            assert "1 of 1 jobs finished" in done


def test_the_dashboard(bin_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    assert "10 panels" in run(bin_folder / "loco", "dashboard", "--dry-run", cwd=tmp_path)


def test_an_editable_install_reads_the_repositorys_conf(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    build = f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    loco = install(wheel, tmp_path / "editable") / "loco"
    (source / "conf" / "attention" / "new.yaml").write_text("defaults: [none]\n")
    (group,) = re.findall(
        r"^attention=\n((?:[* ].*\n)+)", run(loco, "train", "--help", cwd=tmp_path), re.M
    )
    assert {"cdp", "global", "new"} <= set(re.findall(r"^[* ] (\w+)", group, re.M))
    assert not (source / "src" / "loco" / "conf").exists()
