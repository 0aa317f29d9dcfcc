"""The documentation site, made of README, docs, docstrings and executed notebooks: make docs.

Everything is laid out in build/site as Markdown and built by Zensical, without a network: formulas
become MathML, fonts are the reader's own. A link that leads nowhere, a page that the navigation
leaves out, and whatever Zensical warns of end it with an error.

    python -m docs.build_site            # to site/; runs the notebooks, minutes
    python -m docs.build_site --quick    # shows the notebooks without outputs, seconds
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import loco

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "site"
SETTINGS = ROOT / "docs" / "zensical.toml"
STRICT = re.compile(r"griffe: |Warning:|Error:")
MADE = (
    "*Its outputs were made with this site, on a small training: they show how the figures are "
    "made and read, not how good a model can be.*"
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

API: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "loco": (
        "loco",
        "What `import loco` gives, each from its own module.",
        (*(f"loco.{loco._HOMES[name]}.{name}" for name in loco.__all__),
         "loco.training.module.LocalizationModule"),
    ),
    "data": (
        "Data",
        "Annotation and feature files, and what becomes of them.",
        ("loco.structures", "loco.data.annotations", "loco.data.features",
         "loco.data.datamodule", "loco.data.describe", "loco.data.synthetic.config"),
    ),
    "detection": (
        "Detection",
        "What point-based detectors share ([a detector of your own](../own_detector.md)).",
        ("loco.detection.assignment", "loco.detection.center_sampling", "loco.detection.losses",
         "loco.detection.decoding", "loco.detection.suppression", "loco.detection.nms",
         "loco.detection.heads", "loco.nn.attention", "loco.nn.blocks", "loco.nn.encoder",
         "loco.nn.pyramid", "loco.nn.sgp", "loco.nn.fusion"),
    ),
    "detector": (
        "LoCo's parts",
        "Equations and choices are in [the method](../method.md).",
        ("loco.detectors.loco.detector", "loco.detectors.loco.correspondence",
         "loco.detectors.loco.cdp", "loco.detectors.loco.decoder"),
    ),
    "evaluation": (
        "Evaluation",
        "What the numbers mean is in [metrics](../metrics.md).",
        ("loco.evaluation.metrics", "loco.evaluation.diagnosis", "loco.evaluation.baselines",
         "loco.evaluation.bootstrap", "loco.evaluation.similarity"),
    ),
    "runs": (
        "Runs",
        "What the commands do, and reading back what they left.",
        ("loco.runs.train", "loco.runs.evaluate", "loco.runs.predict", "loco.runs.checkpoints",
         "loco.runs.run_folder", "loco.runs.export", "loco.runs.paired"),
    ),
    "figures": (
        "Figures",
        "Each takes plain values and returns a matplotlib figure.",
        ("loco.reporting.figures.localization", "loco.reporting.figures.similarity",
         "loco.reporting.figures.windows", "loco.reporting.figures.results",
         "loco.reporting.figures.training", "loco.reporting.figures.dataset",
         "loco.reporting.figures.style", "loco.reporting.inspection"),
    ),
}  # fmt: skip
"""By page: its title, a line, and the modules and names whose docstrings it shows."""


class SiteError(Exception):
    """What is wrong with the pages."""


def build(to: Path, *, run_notebooks: bool = True) -> None:
    """Make the whole site in a folder.

    Raises:
        SiteError: links that lead nowhere, pages that the navigation leaves out, warnings.
    """
    lay_out(STAGE, run_notebooks=run_notebooks)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=STAGE, capture_output=True, text=True,
    )  # fmt: skip
    told = [line for line in (done.stdout + done.stderr).split("\n") if STRICT.search(line)]
    if done.returncode or told:
        raise SiteError("\n".join(told) or done.stdout + done.stderr)
    if wrong := problems(STAGE / "site"):
        raise SiteError("\n".join(wrong))
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(STAGE / "site", to)


def lay_out(stage: Path, *, run_notebooks: bool) -> None:
    """Write every page as Markdown, with links as the site has them."""
    shutil.rmtree(stage, ignore_errors=True)
    target = stage / "docs"
    shutil.copytree(ROOT / "docs" / "figures", target / "figures")
    for name in ("house.svg", "site.css"):
        shutil.copy(ROOT / "docs" / name, target)
    shutil.copy(SETTINGS, stage)
    for source, page in pages().items():
        file = target / page
        file.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".ipynb":
            text = notebook_page(source, file, run=run_notebooks)
        else:
            text = linked(source.read_text("utf-8"), source)
        file.write_text(formulas(text), "utf-8")
    for page, (title, line, names) in API.items():
        file = target / "api" / f"{page}.md"
        file.parent.mkdir(exist_ok=True)
        shown = "\n\n".join(f"::: {name}" for name in names)
        file.write_text(f"# {title}\n\n{line}\n\n{shown}\n", "utf-8")
    if forgotten := {str(page) for page in pages().values()} - navigation():
        raise SiteError(f"{SETTINGS}: the navigation leaves out {', '.join(sorted(forgotten))}")


def pages() -> dict[Path, Path]:
    """Where each file of the repository stands in the site."""
    docs = ROOT / "docs"
    found = {file: file.relative_to(docs) for file in sorted(docs.rglob("*.md"))}
    found |= {file: Path("notebooks") / f"{file.stem}.md" for file in NOTEBOOKS}
    return found | {
        ROOT / "README.md": Path("index.md"),
        ROOT / "CONTRIBUTING.md": Path("contributing.md"),
        docs / "index.md": Path("overview.md"),
    }


def navigation() -> set[str]:
    """The pages that the settings name."""

    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for inner in node.values() if isinstance(node, dict) else node:
            if not isinstance(node, str):
                yield from leaves(inner)

    return set(leaves(tomllib.loads(SETTINGS.read_text("utf-8"))["project"]["nav"]))


def linked(text: str, source: Path) -> str:
    """A page's text with links between files of the repository as links between pages.

    Of a link to code or a setting only the words stay.

    Raises:
        SiteError: a link to what is not there, or from a word of code to what is no page.
    """
    known = pages()
    here = known[source].parent

    def file_of(target: str) -> Path | None:
        name = target.partition("#")[0]
        return None if re.match(r"https?://", target) or not name else (source.parent / name)

    def unlinked(match: re.Match[str]) -> str:
        file = file_of(match[2])
        place = file and file.resolve()
        shown = place is None or place in known or place.suffix in (".png", ".svg")
        return match[0] if shown or not place.exists() else match[1]

    def moved(match: re.Match[str]) -> str:
        file = file_of(match[1])
        if file is None:
            return match[0]
        place = file.resolve()
        if place not in known and (not place.is_file() or place.suffix not in (".png", ".svg")):
            raise SiteError(f"{source}: {match[1]} is no page of the site")
        place = known.get(place) or place.relative_to(ROOT / "docs")
        _, mark, anchor = match[1].partition("#")
        return f"]({Path(os.path.relpath(place, here)).as_posix()}{mark}{anchor})"

    text = outside_code(text, lambda part: re.sub(r"\[([^][]*)\]\(([^)\s]+)\)", unlinked, part))
    return outside_code(text, lambda part: re.sub(r"\]\(([^)\s]+)\)", moved, part))


def formulas(text: str) -> str:
    """A page's text with formulas as MathML, which browsers draw without a script."""
    text = re.sub(
        r"^```math\n(.*?)^```",
        lambda match: f"<div>{convert(match[1].strip(), display='block')}</div>",
        text,
        flags=re.S | re.M,
    )
    return outside_code(text, lambda part: re.sub(r"\$([^$\n]+)\$", _inline, part))


def _inline(match: re.Match[str]) -> str:
    """In a span: Markdown takes a line that begins with `<math` for a block."""
    return (
        f"<span>{convert(match[1])}</span>".replace("|", "&#x7C;")
        .replace("*", "&#x2A;")
        .replace("_", "&#x5F;")
    )


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` applied to all that is neither a block nor a span of code."""
    parts = re.split(r"(^```.*?^```|^ +```.*?^ +```|`[^`\n]+`)", text, flags=re.S | re.M)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def notebook_page(path: Path, file: Path, *, run: bool) -> str:
    """A notebook as Markdown; its figures are written beside the page."""
    notebook: Any = nbformat.read(path, 4)
    if run:
        print(f"running {path.name}", flush=True)
        made = {"LOCO_OUTPUTS": str(ROOT / "build" / "notebooks" / "outputs")}
        client = NotebookClient(
            notebook, timeout=None, kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
        )  # fmt: skip
        try:
            client.execute(env=made | dict(os.environ))
        except CellExecutionError as error:
            raise SiteError(f"{path}: {error}") from None
    parts: list[str] = []
    figures = 0
    for cell in notebook.cells:
        if len(parts) == 1 and run:
            parts.append(MADE)
        if cell.cell_type == "markdown":
            parts.append(linked(cell.source, path))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                figures += 1
                picture = file.with_name(f"{file.stem}_{figures}.png")
                picture.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![Figure {figures}, drawn by the cell above]({picture.name})")
            elif "text/markdown" in data:
                parts.append(data["text/markdown"])
            elif text := output.get("text") or data.get("text/plain"):
                printed = re.sub(r"\x1b\[[\d;]*m", "", text).replace(str(ROOT), "…").rstrip()
                parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


class Page(HTMLParser):
    """What a page of the site links to, what it loads, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            pass
        else:
            self.loads += [values[name] for name in ("href", "src", "srcset") if name in values]


def problems(site: Path) -> list[str]:
    """Links and pictures that lead nowhere, and whatever would be fetched from elsewhere."""
    read = {file: Page(file.read_text("utf-8")) for file in sorted(site.rglob("*.html"))}
    wrong = []
    for file, page in read.items():
        if file.name == "404.html":  # its links begin at the site's root
            continue
        for target in (*page.links, *page.loads):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                if target in page.loads and url.scheme != "data":
                    wrong.append(f"{file.relative_to(site)}: loads {target}")
                continue
            linked = (file.parent / unquote(url.path)).resolve() if url.path else file
            linked = linked / "index.html" if linked.is_dir() else linked
            if not linked.is_file():
                wrong.append(f"{file.relative_to(site)}: {target} leads nowhere")
            elif url.fragment and linked in read:
                anchor = unquote(url.fragment)
                if anchor not in read[linked].ids and anchor != "__skip":
                    wrong.append(f"{file.relative_to(site)}: no {target}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do not run the notebooks")
    parser.add_argument("--to", type=Path, default=ROOT / "site", help="folder (%(default)s)")
    arguments = parser.parse_args()
    try:
        build(arguments.to, run_notebooks=not arguments.quick)
    except SiteError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.to / 'index.html'}: open it in a browser")
