"""The console command: its pages, its errors, what it imports; and the names of the package."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

import loco
from helpers import ROOT, run_loco
from loco.cli import COMMANDS, main
from loco.cli.configs import config_folder, find_layout
from loco.cli.report import main as report_main
from loco.errors import LocoError
from loco.reporting.report import MAX_VIDEOS
from loco.runs.checkpoints import find_checkpoint
from loco.runs.command.overrides import options_last, readable_words

SCRIPTS = {"describe_data": "describe", "wandb_dashboard": "dashboard"}
QUICK = {"train"}  # the others are the same two lines
SLOW = {"torch", "lightning", "matplotlib", "rich", "filelock", "wandb", "tensorboard"}


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=os.environ | {"COLUMNS": "120"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("words", ["--help", "--version"])
def test_a_reader_that_has_read_enough_is_no_error(words: str) -> None:
    """As `| head` is: the pipe is closed before all is written."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "loco.cli", *words.split()], stdout=writer,
        stderr=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        page = capsys.readouterr().out
        for name, summary in COMMANDS.items():
            assert f"  {name} " in page
            assert summary in page
        assert all(len(line) <= 80 for line in page.splitlines())


def test_every_command_has_a_file() -> None:
    files = {path.stem for path in (ROOT / "src" / "loco" / "cli").glob("[a-z]*.py")}
    assert files - {"configs"} == {name.replace("-", "_") for name in COMMANDS}


@pytest.mark.parametrize(
    "words",
    ["describe x.json --plot", "make-synthetic --plot", "tabulate x --plot", "figure pr x -o"],
)
def test_a_picture_in_no_known_format_is_refused_before_the_work(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "picture.gif"])
    assert ended.value.code == 2
    assert "picture.gif: expected an ending of .pdf, .svg, .png\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"loco {loco.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "did you mean train?"), ("make_synthetic", "did you mean make-synthetic?"),
     ("describe_data", "did you mean describe?"), ("wandb_dashboard", "did you mean dashboard?"),
     ("xyz", "loco --help")],
)  # fmt: skip
def test_an_unknown_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert hint in complaint
    assert complaint.count("\n") == 1


def test_overrides_may_stand_on_both_sides_of_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["seed=1", "--config-dir", str(tmp_path), "model.dim=16", "-m", "report=false"]
    assert options_last(words) == [
        "seed=1", "model.dim=16", "report=false", "--config-dir", str(tmp_path), "-m"
    ]  # fmt: skip
    shown = ["seed=1", "--cfg", "job", "optimizer.lr=7", "--package", "optimizer"]
    assert main(["train", *shown]) == 0
    assert "lr: 7" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["describe", "models", "make-synthetic"])
def test_a_folder_of_configurations_must_be_there(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "--config-dir", "nothing_there"])
    assert "nothing_there: expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["convert", "make-videos", "make-synthetic", "score", "tabulate"]
)
def test_a_seed_is_a_whole_number(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "--seed", "-1"])
    assert "expected a whole number from 0, got -1" in capsys.readouterr().err


def test_stf_trains_from_nothing_never() -> None:
    """Its `init_from` has to be given: a missing value in an experiment replaces no default."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", overrides=["experiment=uniav_stf"])
    with pytest.raises(LocoError, match=r"init_from=.*expected a checkpoint or a run's folder"):
        find_checkpoint(config.init_from, True, "init_from")


def test_errors_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("report", "tabulate", "describe"):
        assert main([command, str(tmp_path)]) == 1
        complaint = capsys.readouterr().err
        assert complaint.startswith("error: ")
        assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
        for path in sorted((ROOT / "scripts").glob("*.py"))
    ],
)
def test_a_script_is_the_same_as_its_command(script: str, tmp_path: Path) -> None:
    """And neither imports for its help what takes seconds."""
    command = SCRIPTS.get(script, script.replace("_", "-"))
    check = (
        "import atexit, sys; from loco.cli import main\n"
        f"atexit.register(lambda: print(*({SLOW} & sys.modules.keys()), file=sys.stderr))\n"
        f"sys.exit(main([{command!r}, '--help']))"
    )
    ours = run("-c", check, cwd=tmp_path)
    theirs = run(str(ROOT / "scripts" / f"{script}.py"), "--help", cwd=tmp_path)
    assert (ours.returncode, theirs.returncode) == (0, 0), theirs.stderr
    assert ours.stdout == theirs.stdout
    assert f"loco {command}" in ours.stdout
    assert ours.stderr.split() == []
    assert not list(tmp_path.iterdir())


def test_as_a_module(tmp_path: Path) -> None:
    done = run("-m", "loco.cli", "nothing", cwd=tmp_path)
    assert done.returncode == 2


def test_threads_spin_shortly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    main(["tabulate", str(tmp_path)])
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


def test_the_report_has_as_many_videos_as_a_runs_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report_main(["--help"])
    assert f"(default: {MAX_VIDEOS})" in " ".join(capsys.readouterr().out.split())


def test_a_users_own_layouts(tmp_path: Path) -> None:
    assert config_folder() == ROOT / "conf"
    text = (ROOT / "conf" / "data" / "unav100_onepeace.yaml").read_text()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(text.replace("stride: 4", "stride: 5"))
    assert find_layout("mine", tmp_path).grid.stride == 5
    assert find_layout("unav100_onepeace", tmp_path).grid.stride == 4
    with pytest.raises(LocoError, match="no layout 'other'"):
        find_layout("other", tmp_path)


# -- the names of the package ---------------------------------------------------------------------


def test_import_is_lazy() -> None:
    done = run("-c", "import loco, sys; print(*({'loco', 'loco.structures', 'torch', 'numpy'} "
                     "& sys.modules.keys()))")  # fmt: skip
    assert done.stdout.split() == ["loco"], done.stderr


def test_names_exist_and_are_documented() -> None:
    for name in loco.__all__:
        part = getattr(loco, name)
        assert part.__name__ == name
        assert part.__module__.startswith("loco.")
        assert name in (loco.__doc__ or "")
        assert name in dir(loco)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = loco.nothing


@pytest.mark.parametrize(
    ("word", "paths"),
    [
        ("ckpt_path=runs/lr=0.1/epoch=3.ckpt", ["runs/lr=0.1/epoch=3.ckpt"]),
        ("ckpt_path='a=b'", ["a=b"]),
        (r"ckpt_path=a\=b", ["a=b"]),
        ("data.root=my data (1)/é=狗", ["my data (1)/é=狗"]),
        ("resume_sweep=multirun/a=1,b=2", ["multirun/a=1", "b=2"]),
        ("resume_sweep=true", [True]),
        ("reuse=x=1", ["x=1"]),
        ("hydra.run.dir=out/a=1", ["out/a=1"]),
        ("data.root=~/a=1", [Path.home() / "a=1"]),
        ("output_dir=~", ["~"]),
    ],
)
def test_paths_with_signs(word: str, paths: list[Any]) -> None:
    parser = OverridesParser.create()
    (made,) = readable_words([word])
    override = parser.parse_override(made)
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    assert [str(v) for v in values] == [str(path) for path in paths]


@pytest.mark.parametrize("word", ["+note=a=b", "seed==3", "+x=it's", "ckpt_path=a=b'c", "+x=$y<b>"])
def test_words_that_hydra_cannot_read(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message quotes the word; what it says can be pasted into a shell."""
    assert main(["train", word]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {word}: Hydra cannot read this")
    (pasted,) = shlex.split(told.partition("those of the shell: ")[2])
    key, _, value = word.partition("=")
    assert OverridesParser.create().parse_override(pasted).value() == value
    assert pasted.startswith(f"{key}=")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-m --cfg job", "error: Only one of --run, --multirun, --cfg, --info and"),
        ("--shell-completion", "expected one of install=SHELL, uninstall"),
        ("--experimental-rerun nothing.pickle", "error: File nothing.pickle does not exist!"),
        ("--config-name nothing", "error: --config-name nothing: no such file; there"),
    ],
)
def test_options_that_hydra_refuses(words: str, message: str, tmp_path: Path) -> None:
    done = run("-m", "loco.cli", "train", *words.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_comes_before_hydras(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--hydra-help", "--help"]) == 0
    assert "correspondence=" in capsys.readouterr().out


def test_options_and_their_values_are_no_overrides() -> None:
    words = ["-m", "--config-dir", "a=b=c", "--config-dir=a=b=c", "~data.x", "data.root="]
    assert readable_words(words) == words


@pytest.mark.slow
def test_a_checkpoint_whose_path_has_signs(finished_run: Path, tmp_path: Path) -> None:
    """Unquoted, as a shell hands it over."""
    folder = tmp_path / "lr=0.1 (é)" / "checkpoints"
    folder.mkdir(parents=True)
    checkpoint = folder / "epoch=3.ckpt"
    checkpoint.write_bytes((finished_run / "checkpoints" / "last.ckpt").read_bytes())
    done = run(
        "-m", "loco.cli", "evaluate", f"ckpt_path={checkpoint}", "trainer.accelerator=cpu",
        f"hydra.run.dir={tmp_path / 'a=1'}", "report=false", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a=1" / "metrics.json").is_file()


def test_an_error_comes_before_anything_is_printed(tmp_path: Path) -> None:
    done = run_loco("describe", "nowhere.json", cwd=tmp_path)
    assert done.code == 1
    assert done.out == "error: nowhere.json: expected an annotation file, there is none\n"


@pytest.mark.slow
def test_a_report_says_what_a_detector_of_ones_own_needs(
    finished_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    best = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    checkpoint["hyper_parameters"]["model"]["_target_"] = "mine.Net"
    torch.save(checkpoint, best)
    done = run_loco("report", run, cwd=tmp_path)
    assert done.code == 0
    assert "report: no similarity matrices: " in done.out
    assert "--trust" in done.out
