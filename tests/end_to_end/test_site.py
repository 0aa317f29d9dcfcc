"""The documentation's site and pictures: built without a network, every link followed."""

from __future__ import annotations

import hashlib
import pkgutil
from pathlib import Path

import pytest
from docs import build_site, draw_figures
from docs.build_site import API, SiteError, formulas, linked, navigation, pages, problems

import loco
from helpers import ROOT
from loco.runs.run_folder import RunFolder


def test_the_navigation_names_every_page() -> None:
    made = {page.as_posix() for page in pages().values()} | {f"api/{name}.md" for name in API}
    assert navigation() == made, "docs/zensical.toml names the pages of the site"


def test_the_api_shows_what_there_is() -> None:
    names = [name for _, _, shown in API.values() for name in shown]
    assert len(names) == len(set(names))
    for name in names:
        assert pkgutil.resolve_name(name).__doc__, name
    assert {name.rpartition(".")[2] for name in API["loco"][2]} >= set(loco.__all__)


def test_links_between_files_become_links_between_pages() -> None:
    index = ROOT / "docs" / "index.md"
    text = "[a](../README.md#start) [b](results/index.md) [c](https://x.y) `[d](no.md)` [e](#here)"
    assert linked(text, index) == text.replace("../README.md", "index.md")
    notebook = "[`a`](../notebooks/02_localization.ipynb)"
    here = ROOT / "docs" / "results" / "core.md"
    assert linked(notebook.replace("..", "../.."), here) == (
        "[`a`](../notebooks/02_localization.md)"
    )
    assert linked("its [code](../src/loco/errors.py)", index) == "its code"
    with pytest.raises(SiteError, match=r"gone\.md is no page of the site"):
        linked("[a](gone.md)", index)


def test_formulas_need_no_script() -> None:
    text = formulas("$x_i$ costs `$1`\n\n```math\n\\frac{1}{N}\n```\n\n```bash\necho $A $B\n```\n")
    assert text.startswith("<span><math")
    assert "<mfrac>" in text
    assert "`$1`" in text
    assert "echo $A $B" in text


def test_what_is_wrong_with_a_site_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#there"></a><a href="b.html#not"></a>')
    (tmp_path / "b.html").write_text(
        '<p id="there"><img src="gone.png"><script src="https://x.y/z.js"></script>'
        '<a href="https://x.y"></a><a href="a.html"></a>'
    )
    assert problems(tmp_path) == [
        "a.html: no b.html#not",
        "b.html: gone.png leads nowhere",
        "b.html: loads https://x.y/z.js",
    ]


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    """With the outputs of all notebooks; a link that leads nowhere would have ended it."""
    build_site.build(tmp_path / "site")
    made = {file.relative_to(tmp_path / "site").as_posix() for file in tmp_path.rglob("*.html")}
    assert made >= {page.with_suffix(".html").as_posix() for page in pages().values()}
    assert made >= {f"api/{name}.html" for name in API}
    figures = list((tmp_path / "site" / "notebooks").glob("*.png"))
    assert len(figures) >= 20
    text = (tmp_path / "site" / "api" / "loco.html").read_text("utf-8")
    assert all(f".{name}" in text for name in loco.__all__)
    assert "<math" in (tmp_path / "site" / "method.html").read_text("utf-8")


@pytest.mark.slow
def test_pictures_are_drawn_from_any_run(finished_run: Path, tmp_path: Path) -> None:
    """The same run gives the same pictures."""
    run = RunFolder(finished_run)
    drawn = [draw_figures.draw(run, tmp_path / name, with_lcc=run) for name in "ab"]
    without = {file.name for file in draw_figures.draw(run, tmp_path / "c")}
    assert without == {file.name for file in drawn[0]} - {"similarity.png"}
    assert {file.name for file in drawn[0]} >= {"timeline.png", "similarity.png", "map.png"}
    first, second = (
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] for files in drawn
    )
    assert first == second
