"""Names are data: what classes, videos and settings are called is read back as it was, everywhere.

Where a form cannot hold a name, what stands instead is stated: `�` for control characters, single
blanks for line breaks and tabs.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hydra.utils import instantiate
from markdown_it import MarkdownIt

from helpers import (
    MAP_NAMES,
    NASTY,
    NASTY_IDS,
    QUIET,
    TINY_MODEL,
    compose_config,
    make_job,
    tiny_config,
)
from loco.cli import main
from loco.errors import ExportError
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.evaluate import evaluate
from loco.runs.export import FORMATS, write_predictions
from loco.runs.predict import predict
from loco.runs.run_folder import RunFolder
from loco.runs.text import one_line, shown
from loco.runs.train import train
from loco.structures import Events
from loco.sweeps.render import RENDERERS
from loco.sweeps.report import write_sweep_report
from loco.sweeps.tabulate import Table, columns_of, make_rows, read_jobs


@pytest.fixture(scope="module")
def data(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set under other names of classes and videos."""
    instantiate(tiny_config(synthetic_root, synthetic_root).data).prepare_data()
    old = json.loads((synthetic_root / "annotations.json").read_text("utf-8"))["database"]
    root = tmp_path_factory.mktemp("nasty")
    (root / "features").mkdir()
    database, number = {}, 0
    for place, (video_id, video) in enumerate(sorted(old.items())):  # test, train, validation
        name = NASTY_IDS[place] if place < len(NASTY_IDS) else video_id
        for event in video["annotations"]:
            event["label_id"] = number % len(NASTY)
            event["label"] = NASTY[event["label_id"]]
            number += 1
        database[name] = video
        for kind in ("rgb", "flow", "vggish"):
            content = (synthetic_root / "features" / f"{video_id}_{kind}.npy").read_bytes()
            (root / "features" / f"{name}_{kind}.npy").write_bytes(content)
    assert number >= len(NASTY)
    (root / "annotations.json").write_text(json.dumps({"database": database}), "utf-8")
    return root


def settings(data: Path, output: Path, *more: str) -> list[str]:
    return [
        "data=unav100_i3d_vggish", f"data.root={data / 'features'}", "data.num_workers=0",
        f"data.annotations={data / 'annotations.json'}", "data.batch_size=4",
        f"output_dir='{output}'", "trainer.max_epochs=1", *TINY_MODEL, *QUIET, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on it, in a folder whose name is one of those, too."""
    folder = tmp_path_factory.mktemp("runs") / "<b>&$x$ 狗"
    train(compose_config("train", settings(data, folder, "report=true")))
    return folder


class Page(HTMLParser):
    """The texts of elements, by tag."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.texts.setdefault(tag, []).append("")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


def test_results_and_page_of_a_run(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert tuple(metrics["per_class"]) == NASTY
    tested = json.loads((run / "predictions.json").read_text("utf-8"))["database"]
    assert set(tested) == set(NASTY_IDS[:5])
    page = Page(run / "report.html")
    rated = [name for name, of_class in metrics["per_class"].items() if of_class["mAP"] is not None]
    assert {shown(name) for name in rated} <= set(page.texts["th"])
    assert page.texts["h1"][0].startswith("LoCo on ")
    assert page.texts["p"][0] == run.name
    assert f" · {run.name} · " in page.texts["title"][0]
    held, _ = page.texts["script"]
    content = json.loads(held)
    assert tuple(content["classes"]) == NASTY
    assert {video["id"] for video in content["videos"]} == set(NASTY_IDS[:5])
    assert "li" not in page.texts  # nothing was left out


def test_evaluation_and_resuming(run: Path, data: Path, tmp_path: Path) -> None:
    words = [f"ckpt_path='{run}'", f"output_dir={tmp_path / 'again'}", "trainer.accelerator=cpu"]
    evaluate(compose_config("evaluate", words))
    again = RunFolder(tmp_path / "again")
    assert tuple(again.annotations.class_names) == NASTY
    assert again.metrics == RunFolder(run).metrics
    assert "No " not in "".join(Page(tmp_path / "again" / "report.html").texts.get("li", []))
    more = settings(data, tmp_path / "more", f"ckpt_path='{run}'", "trainer.max_epochs=2")
    train(compose_config("train", more))


def test_prediction_names_its_files(run: Path, data: Path, tmp_path: Path) -> None:
    words = [f"ckpt_path='{run}'", f"data.root={data / 'features'}", f"output_dir={tmp_path}",
             f"formats=[{','.join(FORMATS)}]", "trainer.accelerator=cpu"]  # fmt: skip
    found = predict(compose_config("predict", words))
    assert set(NASTY_IDS) <= set(found)
    for kind, ending in {"srt": "srt", "vtt": "vtt", "audacity": "txt", "elan": "eaf"}.items():
        assert {path.name for path in (tmp_path / kind).iterdir()} == {
            f"{video}.{ending}" for video in found
        }


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("data.predict_split=foo", "predict_split must be one of"),
        ("data.eval_batch_size=0", "eval_batch_size must be at least 1"),
        ("data.missing=foo", "missing must be 'error' or"),
        ("+data.modality=foo", "modality must be 'both', 'audio'"),
        ("+data.foo=1", "AVDataModule takes no foo"),
    ],
)
def test_what_is_wrong_with_the_data_of_a_prediction_is_a_line(
    run: Path, data: Path, tmp_path: Path, word: str, told: str
) -> None:
    words = [f"ckpt_path='{run}'", f"data.root={data / 'features'}", f"output_dir={tmp_path}"]
    with pytest.raises(USER_ERRORS) as error:
        predict(compose_config("predict", [*words, "trainer.accelerator=cpu", word]))
    assert told in readable(error.value)
    assert "\n" not in readable(error.value)


# -- exports, read back ----------------------------------------------------------------------------

EVENTS = Events(
    torch.tensor([[i, i + 0.5] for i in range(len(NASTY))]).double(),
    torch.arange(len(NASTY)),
    torch.full((len(NASTY),), 0.5).double(),
)
LINES = [f"{one_line(name)} (0.50)" for name in NASTY]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    write_predictions(folder, dict.fromkeys(NASTY_IDS, EVENTS), NASTY, FORMATS)
    return folder


def test_csv_computes_nothing(exported: Path) -> None:
    with (exported / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert not [r for r in rows for v in (r["video"], r["label"]) if v[:1] in ("=", "@", "\t")]
    assert not [r for r in rows for v in (r["video"], r["label"]) if re.match(r"[+-].*[^\w.-]", v)]
    taken_off = [re.sub(r"^'(?='*[=+\-@\t])", "", row["label"]) for row in rows]
    assert taken_off == [name for _ in NASTY_IDS for name in NASTY]
    videos = dict.fromkeys(re.sub(r"^'(?==)", "", row["video"]) for row in rows)
    assert list(videos) == sorted(NASTY_IDS)
    assert "-0nqfRcnAYE" in {row["video"] for row in rows}


@pytest.mark.parametrize("video", [NASTY_IDS[0], NASTY_IDS[3]])
def test_subtitles_and_labels(exported: Path, video: str) -> None:
    blocks = (exported / "srt" / f"{video}.srt").read_text("utf-8").split("\n\n")[:-1]
    numbers, times, texts = zip(*(block.split("\n") for block in blocks), strict=True)
    assert list(numbers) == [str(i + 1) for i in range(len(NASTY))]
    assert all(re.fullmatch(r"[\d:,]{12} --> [\d:,]{12}", time) for time in times)
    assert not [text for text in texts if "-->" in text or re.search(r"<\w|\{\\", text)]
    assert [text.replace("\u2060", "") for text in texts] == LINES
    head, *cues = (exported / "vtt" / f"{video}.vtt").read_text("utf-8").split("\n\n")[:-1]
    assert head == "WEBVTT"
    texts = [cue.split("\n")[1] for cue in cues]
    assert all(len(cue.split("\n")) == 2 for cue in cues)
    assert not [text for text in texts if "<" in text or "-->" in text]
    assert [html.unescape(text) for text in texts] == LINES
    labels = (exported / "audacity" / f"{video}.txt").read_text("utf-8").split("\n")[:-1]
    assert [label.split("\t")[2] for label in labels] == LINES


def test_elan_documents(exported: Path) -> None:
    for path in (exported / "elan").iterdir():
        root = ElementTree.parse(path).getroot()
        tiers = [tier for tier in root.iter("TIER") if len(tier)]
        names = [tier.attrib["TIER_ID"] for tier in tiers]
        assert len(set(names)) == len(names)
        assert set(names) == {one_line(name) for name in NASTY}
        values = [value.text for value in root.iter("ANNOTATION_VALUE")]
        assert sorted(map(str, values)) == sorted(LINES)


def test_a_class_called_like_the_second_tier_of_another(tmp_path: Path) -> None:
    times = torch.tensor([[0.0, 2.0], [1.0, 3.0], [4.0, 5.0]]).double()
    events = Events(times, torch.tensor([0, 0, 1]), torch.ones(3).double())
    write_predictions(tmp_path, {"a": events}, ["dog", "dog (2)"], ["elan"])
    tiers = ElementTree.parse(tmp_path / "elan" / "a.eaf").getroot().iter("TIER")
    texts = {t.attrib["TIER_ID"]: [v.text for v in t.iter("ANNOTATION_VALUE")] for t in tiers}
    assert texts == {
        "dog": ["dog (1.00)"], "dog (2)": ["dog (1.00)"], "dog (2) (2)": ["dog (2) (1.00)"]
    }  # fmt: skip


@pytest.mark.parametrize(
    "video", ["../x", "/etc/x", "a/b", "a\\b", "", ".", "..", "a\0b", "a\nb", "x" * 300, "\ud800"]
)
def test_ids_that_leave_their_folder(tmp_path: Path, video: str) -> None:
    out = tmp_path / "out" / "in"
    for name in ("srt", "vtt", "audacity", "elan"):
        with pytest.raises(ExportError, match="an id that names files must be"):
            write_predictions(out, {"good": EVENTS, video: EVENTS}, NASTY, ["json", name])
    assert list(tmp_path.iterdir()) == []


# -- tables of sweeps ------------------------------------------------------------------------------

SETTINGS = [name for name in NASTY if name not in ("null", "1e3")]  # values, not names, of settings


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    sweep = tmp_path_factory.mktemp("sweep")
    for number, name in enumerate(SETTINGS):
        folder = make_job(sweep, number, {"+my.key|<b>_x_": name, "seed": 0}, 0.1 + number / 1000)
        (folder / "logs").mkdir()
        (folder / "logs" / "metrics.csv").write_text("step,epoch,my_a|<b>&$\n1,0,1.0\n")
    rows = make_rows(read_jobs([sweep]))
    return Table(rows, columns_of(rows, ["my_a|<b>&$"]))


def test_markdown_tables(table: Table) -> None:
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = page.parse(RENDERERS["markdown"](table))
    cells = [
        "".join(part.content for part in token.children or ())
        for before, token in pairwise(tokens)
        if before.type in ("td_open", "th_open")
    ]
    width = 3 + len(MAP_NAMES[4:])
    heads, *rows = [cells[i : i + width] for i in range(0, len(cells), width)]
    assert heads[:3] == ["my.key|<b>_x_", "seeds", "my_a|<b>&$"]
    assert [row[0] for row in rows] == [one_line(name) for name in SETTINGS]
    kinds = {part.type for token in tokens for part in token.children or ()}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}


def test_latex_tables(table: Table) -> None:
    lines = RENDERERS["latex"](table).split("\n")
    rows = [line.removesuffix(r" \\") for line in lines if line.endswith(r" \\")]
    heads, *cells = [re.split(r"(?<!\\) & ", row) for row in rows]
    assert {len(row) for row in cells} == {len(heads)}
    assert [unescaped(text) for text in heads[:3]] == ["my.key|<b>_x_", "seeds", "my_a|<b>&$"]
    expected = [one_line(name).replace("�", "?") for name in SETTINGS]
    assert [unescaped(row[0]) for row in cells] == expected
    assert not [row for row in rows if row.lstrip().startswith(("[", "*"))]  # arguments of \\\\


def unescaped(text: str) -> str:
    """What LaTeX sets for a text in which only what is special to it is escaped."""
    words = {
        "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<",
        "textgreater": ">", "textbar": "|", "textquotesingle": "'", "textasciigrave": "`",
    }  # fmt: skip
    out, pattern = (
        "",
        re.compile(
            r"\\symbol\{34\}|\\([a-z]+)\{\}|\\([&%$#_{}])|\{([-\[*])\}|([^\\{}$&#%_^~|<>\"'`-])"
        ),
    )
    while text:
        match = pattern.match(text)
        assert match, text
        word, sign, grouped, plain = match.groups()
        out += words[word] if word else sign or grouped or plain or '"'
        text = text[match.end() :]
    return out


def test_csv_and_page_of_a_sweep(table: Table, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"](table), newline="")))
    assert [re.sub(r"^'(?='*[=+\-@\t])", "", r["my.key|<b>_x_"]) for r in rows] == SETTINGS
    assert all(row["my_a|<b>&$"] == "1.0" for row in rows)
    title = "<b> & {title} @@X@@"
    page = Page(write_sweep_report(table, tmp_path / "sweep.html", title))
    assert page.texts["h1"] == [title]
    assert {shown(name) for name in SETTINGS} <= set(page.texts["th"])
    drawn = {" ".join(text.split()) for text in page.texts["text"]}
    assert any("cash $$" in text for text in drawn)
    assert any("price $5 or $6" in text for text in drawn)


def test_the_command_can_be_run_again(tmp_path: Path) -> None:
    """As a shell reads it."""
    words = ["note='a b'", '+x=$HOME `id` "q"', "~y", "z=[1,2]", "it's=\\,", "two\nlines", "#x"]
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).touch()
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    command = RunFolder(tmp_path).command
    assert command is not None
    assert shlex.split(command) == ["loco", "train", *words]
    program = f"import sys; print({len(words)} + 2 == len(sys.argv[1:]))"
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -c '{program}' {command}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


def test_tables_are_printed(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {str(job.folder.parent) for row in table.rows for job in row.finished}
    assert main(["tabulate", *folders]) == 0
    assert "cash" in capsys.readouterr().out


@pytest.mark.slow
def test_loggers(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's tables and pictures, of which each video has one, and TensorBoard's settings."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    database = json.loads((data / "annotations.json").read_text("utf-8"))["database"]
    shift = {"test": "validation", "validation": "test"}  # nasty ids among those that are drawn
    for video in database.values():
        video["subset"] = shift.get(video["subset"], video["subset"])
    (tmp_path / "mine.json").write_text(json.dumps({"database": database}), "utf-8")
    words = settings(data, tmp_path / "run", "logger=[tensorboard,wandb]")
    words += [f"data.annotations={tmp_path / 'mine.json'}", "callbacks.wandb.num_videos=5"]
    train(compose_config("train", words))
    assert "no W&B" not in caplog.text
    assert "failed at the end" not in caplog.text
    pictures = {p.name for p in tmp_path.rglob("media/images/**/*.png")}
    assert len(pictures) >= 10  # a timeline and a similarity of each
