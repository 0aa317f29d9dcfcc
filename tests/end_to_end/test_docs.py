"""What README and docs say: links and names exist, settings compose, commands run.

A command that nobody can run without fetching something stands below a line `# needs …`. All the
others are run in a tiny form: small data, a narrow model, one epoch, and of a sweep its first job
(tests/end_to_end/test_sweeps.py runs whole ones). Paths that stand for the reader's own, such as
`outputs/train/…`, are replaced by those of a small finished run.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from docs.house import OUTSIDE, PACKAGE, module_files, read_imports, room, uses
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL, compose_config
from loco import cli
from loco.cli.configs import find_layout
from loco.runs.command.overrides import readable_words

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
A_SWEEP = re.compile(r"multirun/train/(?:<time>|…|[\d_-]+)")


@dataclass(frozen=True)
class Command:
    """A line of a page's bash block."""

    page: str
    text: str
    fetched: bool
    """Whether it stands below a line that says what it needs."""

    @property
    def words(self) -> list[str]:
        """Without settings of the environment."""
        words = shlex.split(self.text, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        return words

    @property
    def name(self) -> str:
        """What stands behind `loco`; empty where it is no command of ours."""
        first, *rest = self.words
        return rest[0] if first == "loco" and rest and rest[0] in cli.COMMANDS else ""

    @property
    def environment(self) -> dict[str, str]:
        words = shlex.split(self.text, comments=True)
        settings = words[: len(words) - len(self.words)]
        return dict(word.split("=", 1) for word in settings)  # type: ignore[misc]


def commands(page: Path) -> Iterator[Command]:
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
        fetched = False
        for line in block.replace("\\\n", " ").split("\n"):
            if line.startswith("#"):
                fetched = bool(re.match(r"# needs? ", line))
            elif line.strip():
                yield Command(page.name, " ".join(line.split()), fetched)
            else:
                fetched = False


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
OURS = [command for command in COMMANDS if command.name]
TRAININGS = [command for command in OURS if command.name == "train"]
RUNNABLE = list({c.text: c for c in OURS if not c.fetched}.values())


def first_job(words: list[str]) -> list[str]:
    """Overrides of the first job of a sweep: its own choices, and those of its experiment."""
    chosen: dict[str, str] = {}
    parser = OverridesParser.create()
    for override in parser.parse_overrides(words):
        key, text = override.key_or_group, override.input_line or ""
        if override.is_sweep_override():
            text = f"{key}={next(iter(override.sweep_string_iterator()))}"
        chosen[key] = text
        if key == "experiment":
            file = ROOT / "conf" / "experiment" / f"{text.partition('=')[2]}.yaml"
            params = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params") or {}
            for name, choices in params.items():
                swept = parser.parse_override(f"{name}={choices}")
                if swept.is_choice_sweep():  # no distribution, of a search
                    first = next(iter(swept.sweep_string_iterator()))
                    chosen.setdefault(str(name), f"{name}={first}")
    return [text for key, text in chosen.items() if not key.startswith("hydra")]


def with_settings(words: list[str], settings: list[str]) -> list[str]:
    """Words with these settings instead of others of the same keys."""
    keys = {setting.partition("=")[0].lstrip("+") for setting in settings}
    return [word for word in words if word.partition("=")[0].lstrip("+") not in keys] + settings


# -- what is quick ---------------------------------------------------------------------------------


def test_there_are_pages_and_commands() -> None:
    named = {page.name for page in PAGES}
    assert named >= {"README.md", "index.md", "method.md", "data.md", "own_data.md", "faq.md",
                     "visualize.md", "metrics.md", "own_detector.md"}  # fmt: skip
    assert len(RUNNABLE) > 15


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Pages, their headings, and pictures."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://", target):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_pictures_are_shown_and_small() -> None:
    """Each one in a page, with words for those who do not see it; less than 1 MB in all."""
    shown = [
        (text, (page.parent / target).resolve())
        for page in PAGES
        for text, target in re.findall(r"!\[(.*?)\]\(([^)\s]+)\)", page.read_text("utf-8"))
    ]
    assert all(len(text) > 20 for text, _ in shown)
    pictures = list((ROOT / "docs" / "figures").iterdir())
    assert len(pictures) >= 5
    assert {file.name for file in pictures} <= {file.name for _, file in shown}
    assert sum(file.stat().st_size for file in pictures) < 1e6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Names of files in the repository, those aside that a reader is told to write."""
    for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|yaml|md|ipynb|toml))`", page.read_text()):
        if "mine" not in name:
            assert any((root / name).exists() for root in (ROOT, ROOT / "src" / "loco")), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_parts_of_the_package_exist(page: Path) -> None:
    for name in set(re.findall(r"`(loco(?:\.\w+)+)[`(]", page.read_text("utf-8"))):
        pkgutil.resolve_name(name)


def test_names_in_code_configs_and_notebooks_exist() -> None:
    files = [
        *(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"),
        *(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "scripts").glob("*.py"),
    ]  # fmt: skip
    for file in files:
        for name in set(re.findall(r"\bloco(?:\.[a-zA-Z_]\w*)+", file.read_text("utf-8"))):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError) as error:
                pytest.fail(f"{file}: {error}")


def test_every_room_has_its_line() -> None:
    """In the map of the documentation, and in the README's."""
    index, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/index.md", "README.md"))
    rooms = {room(module) for module in module_files(PACKAGE)} - set(OUTSIDE)
    for name in rooms:
        assert re.search(rf"^\| `{name}` \| .+ \|.*\|$", index, re.M), name
        assert re.search(rf"^ +(.* )?{name}(/|\.py)", readme, re.M), name
    assert "No room imports a detector" in index
    used = uses(read_imports())
    assert not any("detectors" in used.get(name, ()) for name in rooms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_and_yaml_in_pages_can_be_read(page: Path) -> None:
    text = page.read_text("utf-8")
    for kind, block in re.findall(r"^ *```(python|yaml)\n(.*?)^ *```", text, re.S | re.M):
        indent = len(block) - len(block.lstrip(" "))
        block = re.sub(rf"^ {{{indent}}}", "", block, flags=re.M)
        if kind == "python":
            compile(block, page.name, "exec")
        else:
            OmegaConf.create(block)


def test_commands_name_what_there_is() -> None:
    targets = (ROOT / "Makefile").read_text()
    for command in COMMANDS:
        first, *rest = command.words
        if first == "make":
            assert re.search(rf"^{rest[0]}:", targets, re.M), command
        elif first == "loco":
            assert command.name or rest in (["--help"], ["--version"]), command
        elif first == "python":
            assert rest[0].startswith("benchmarks/"), command
            assert (ROOT / rest[0]).is_file(), command
        else:
            assert first in ("source", "pip"), f"{command}: not a command that the tests know"


@pytest.mark.parametrize(
    "command",
    [c for c in TRAININGS if not {"--help", "data=mine", "--config-dir"}.intersection(c.words)],
    ids=lambda c: c.text,
)
def test_trainings_compose(command: Command) -> None:
    words = [word for word in command.words[2:] if word != "-m"]
    words = [A_SWEEP.sub("somewhere", word).replace("…", "somewhere") for word in words]
    config = compose_config("train", [*first_job(words), "output_dir=somewhere"])
    assert config.model


class Parsed(Exception):
    """A command's words were understood."""


def test_other_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that need something fetched; those with a reader's own settings are run below."""
    for method in ("parse_args", "parse_intermixed_args"):
        understand = getattr(argparse.ArgumentParser, method)

        def parse(
            self: argparse.ArgumentParser, words: list[str] | None = None, understand=understand
        ) -> None:
            raise Parsed(understand(self, words))

        monkeypatch.setattr(argparse.ArgumentParser, method, parse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_conf").mkdir()
    seen = set()
    for command in {c.text: c for c in OURS}.values():
        words = command.words[2:]
        if command.name == "train" or "PYTHONPATH" in command.environment or "--help" in words:
            continue
        seen.add(command.name)
        if command.name in ("evaluate", "predict", "extract"):  # words for Hydra
            readable = [word.replace("…", "somewhere") for word in readable_words(words)]
            assert compose_config(command.name, readable), command
        else:
            with pytest.raises(Parsed):
                cli.main([command.name, *words])
    assert seen >= {"evaluate", "predict", "extract", "convert", "describe", "make-synthetic",
                    "models", "report", "score", "tabulate", "dashboard"}  # fmt: skip


# -- what is not -----------------------------------------------------------------------------------


def call(
    words: list[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """`loco …` in a folder, where modules are not looked for, as with the installed command."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "loco.cli", *words],
        cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished_sweep(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny sweep over attention."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    done = call(
        ["train", "-m", "attention=fixed,cdp", f"data.root={synthetic_root}",
         f"hydra.sweep.dir={folder}", "trainer.max_epochs=1", "trainer.log_every_n_steps=1",
         *TINY_DATA, *TINY_MODEL, *QUIET],
        folder.parent, {},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNNABLE, ids=lambda c: c.text)
def test_commands_run(
    command: Command, finished_run: Path, synthetic_root: Path, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    if command.name == "report":  # writes into the run, which other tests read
        finished_run = shutil.copytree(finished_run, tmp_path / "run")
    features, annotations = synthetic_root / "features", synthetic_root / "annotations.json"
    words = command.words[2:]
    if any(A_SWEEP.search(word) for word in words):
        sweep = request.getfixturevalue("finished_sweep")
        words = [A_SWEEP.sub(str(sweep), word) for word in words]
    for shown, real in (
        ("outputs/train/…", finished_run),
        ("/path/to/features", features),
        ("/path/to/unav100_annotations.json", annotations),
        ("data/synthetic/annotations.json", annotations),
    ):
        words = [word.replace(shown, str(real)) for word in words]
    if command.name == "train" and "--help" not in words:
        of_sweeps = ("resume_sweep=", "reuse=")
        words = first_job([w for w in words if w != "-m" and not w.startswith(of_sweeps)])
        synthetic = not any(re.match(r"data=(?!synthetic)", word) for word in words)
        model = next((word for word in words if word.startswith("model=")), "model=loco")
        narrow = TINY_MODEL if "=loco" in model else TINY_MODEL[:1]  # others have no heads there
        settings = [*narrow, *QUIET, "trainer.max_epochs=1", "data.batch_size=4"]
        settings += [f"data.root={synthetic_root}", *TINY_DATA] if synthetic else []
        if any(word.startswith("ckpt_path=") for word in words):  # of a run of two epochs
            settings[settings.index("trainer.max_epochs=1")] = "trainer.max_epochs=2"
        if any(word == "trainer=ddp" for word in words):
            settings.append("trainer.devices=2")
        if any(word == "experiment=table3_cost" for word in words):
            settings += ["cost.repeats=1", "cost.steps=16", "cost.batch_size=1"]
        words = with_settings(words, settings)
    elif command.name == "predict":
        words = with_settings(words, [f"output_dir={tmp_path / 'out'}", f"data.root={features}"])
    elif command.name == "evaluate":
        words = with_settings(words, [f"output_dir={tmp_path / 'out'}"])
    elif command.name == "search" and "--help" not in words:
        words[words.index("--trials") + 1] = "2"
        words += [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET]
        words.append("trainer.max_epochs=1")
    elif command.name == "make-synthetic" and "--help" not in words:
        words += ["--videos", "12", "4", "4", "--classes", "3"]
    done = call([command.name, *words], tmp_path, command.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


# -- what a reader writes --------------------------------------------------------------------------


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows, each below a line with its name."""
    shown = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    assert shown
    for name, text in shown:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")


def test_the_example_of_own_data_composes(tmp_path: Path) -> None:
    """In a folder of the reader's own, and `loco describe` finds its layout there."""
    text = (ROOT / "docs" / "own_data.md").read_text("utf-8")
    (block,) = re.findall(r"`my_conf/data/mine\.yaml`.*?```yaml\n(.*?)^ *```", text, re.S | re.M)
    file = tmp_path / "my_conf" / "data" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(textwrap.dedent(block), "utf-8")
    assert "loco train --config-dir my_conf data=mine" in text
    words = ["train", "--config-dir", "my_conf", "data=mine", "--cfg", "job"]
    done = call(words, tmp_path, {})
    assert done.returncode == 0, done.stderr
    data = OmegaConf.create(done.stdout).data
    assert (data.root, data.layout.stride, data.missing) == ("data/mine/features", 4, "error")
    assert "describe data/mine/annotations.json --config-dir my_conf --layout mine" in text
    assert find_layout("mine", tmp_path / "my_conf").grid.stride == 4


def test_the_example_of_a_detector_is_short_and_clean(tmp_path: Path) -> None:
    write_files(ROOT / "docs" / "own_detector.md", tmp_path)
    file = tmp_path / "my_detector.py"
    assert len(file.read_text().splitlines()) <= 60
    for check in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *check, "--config", ROOT / "pyproject.toml", file]
        assert subprocess.run(words, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("own_detector.md", ["train", "train", "predict"]),
        ("visualize.md", ["train", "evaluate", "predict"]),
    ],
)
def test_files_that_a_page_shows_work(
    name: str, used: list[str], synthetic_root: Path, tmp_path: Path
) -> None:
    """All commands below them that use them, one after the other, in a folder with these files."""
    page = ROOT / "docs" / name
    write_files(page, tmp_path)
    with_files = [c for c in commands(page) if "PYTHONPATH" in c.environment]
    assert [command.name for command in with_files] == used
    newest = ""
    for epochs, command in enumerate(with_files, start=1):
        words = [word.replace("outputs/train/…", newest) for word in command.words[2:]]
        words = [word.replace("/path/to/features", f"{synthetic_root}/features") for word in words]
        if command.name == "train":
            settings = [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET]
            words = with_settings(words, [*settings, f"trainer.max_epochs={epochs}"])
        path = [command.environment["PYTHONPATH"], os.environ.get("PYTHONPATH", "")]
        done = call([command.name, *words], tmp_path, {"PYTHONPATH": os.pathsep.join(path)})
        assert done.returncode == 0, done.stderr[-3000:]
        assert "failed at the end" not in done.stdout + done.stderr
        newest = str(max((tmp_path / "outputs").glob("train/*"), key=os.path.getmtime))
    found = json.loads(next((tmp_path / "outputs/predict").rglob("predictions.json")).read_text())
    assert len(found["database"]) == 21
    if name == "own_detector.md":
        last = torch.load(Path(newest) / "checkpoints/last.ckpt", weights_only=True)
        assert last["epoch"] == 1
        assert last["hyper_parameters"]["model"]["_target_"] == "my_detector.MyDetector"
    else:
        assert len(list((tmp_path / "results").glob("*/predictions.json"))) == 3
