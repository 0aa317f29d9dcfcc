"""The page that plays films below their timelines, and copies with captions."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import av, brightness, flash, steady, tone, turn, write_clip
from helpers import count, open_page
from loco.errors import OutputError, VideoError
from loco.runs.export import Cue
from loco.runs.player import _Captions, write_captioned, write_page
from loco.structures import Events
from loco.video.container import probe
from loco.video.playable import encode, how_to_play, remux
from loco.video.reader import VideoReader

NAMES = ["flash </script>", "tone & more"]
EVENTS = Events(
    torch.tensor([[1.0, 1.5], [2.0, 3.5], [0.0, 0.5]]), torch.tensor([0, 1, 1]),
    torch.tensor([0.9, 0.6, 0.1]),
)  # fmt: skip
H264: dict[str, Any] = {"codec": "libx264"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("my films #1")
    sound = tone(1, 4)
    return {
        "plain": write_clip(folder / "plain.mp4", flash(1), steady(4), sound, **H264),
        "matroska": write_clip(folder / "matroska.mkv", flash(1), steady(4), sound,
                               time_base=Fraction(1, 1000), **H264),
        "old": write_clip(folder / "old.avi", flash(1), steady(4), sound, codec="mpeg4",
                          sound_codec="mp2", time_base=Fraction(1, 25)),
        "web": write_clip(folder / "web.webm", flash(1), steady(4), sound, codec="libvpx",
                          sound_codec="libopus", time_base=Fraction(1, 1000)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(films: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    return write_page(folder, films, dict.fromkeys(films, EVENTS), NAMES)


def data_of(page: Path) -> dict[str, Any]:
    text = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert text is not None
    content: dict[str, Any] = json.loads(text[1])
    return content


def test_a_film_is_not_replaced_by_what_is_made_of_it(
    films: dict[str, Path], tmp_path: Path
) -> None:
    """Where films lie in a folder that is called as those of copies are."""
    for folder, write in (("films", write_page), ("mp4", write_captioned)):
        (tmp_path / folder).mkdir()
        film = shutil.copyfile(films["old"], tmp_path / folder / "old.mp4")
        before = film.read_bytes()
        with pytest.raises(VideoError, match=r"its copy would take its place"):
            write(tmp_path, {"old": film}, {"old": EVENTS}, NAMES)
        assert film.read_bytes() == before


def test_what_browsers_play(films: dict[str, Path]) -> None:
    how = {name: how_to_play(probe(path), path) for name, path in films.items()}
    assert how_to_play(probe(films["plain"]), Path("x.mov")) == "remux"
    assert how == {"plain": "as it is", "matroska": "remux", "old": "encode", "web": "as it is"}


def test_a_folder_may_have_a_name_that_is_no_text(films: dict[str, Path], tmp_path: Path) -> None:
    """As from another system: bytes that are no UTF-8."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error}")
    film = Path(shutil.copy(films["plain"], folder))
    (video,) = data_of(write_page(tmp_path / "out", {"plain": film}, {"plain": EVENTS}, NAMES))[
        "videos"
    ]
    assert video["src"] == "../caf%E9/plain.mp4"
    assert video["path"] == "../caf\N{REPLACEMENT CHARACTER}/plain.mp4"


def test_the_page_names_films_by_relative_paths(page: Path, films: dict[str, Path]) -> None:
    videos = {video["id"]: video for video in data_of(page)["videos"]}
    assert re.search(r"/my%20films%20%231\d*/plain.mp4$", videos["plain"]["src"])
    assert (page.parent / videos["plain"]["path"]).resolve() == films["plain"].resolve()
    assert videos["old"]["src"] == "films/old.mp4"
    assert "written anew" in videos["old"]["note"]
    assert "same pictures and sound" in videos["matroska"]["note"]
    assert videos["plain"]["note"] == ""


@pytest.mark.parametrize(("name", "options"), [
    ("vfr.mkv", {"times": [Fraction(n, 6) for n in range(12)]
                 + [2 + Fraction(n, 30) for n in range(60)], "time_base": Fraction(1, 1000)}),
    ("camera.ts", {}), ("late.mkv", {"sound_from": 0.5, "time_base": Fraction(1, 1000)}),
    ("phone.mov", {}),
])  # fmt: skip
def test_what_is_not_written_anew_is_the_same(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Pictures in another order than they are shown, times that do not begin at 0, turned ones."""
    sound = tone(1 - options.get("sound_from", 0), 4)
    film = write_clip(tmp_path / name, flash(1, size=(48, 96)), **{
        "times": steady(4), "sound": sound, **H264, **options,
    })  # fmt: skip
    if name == "phone.mov":
        turn(film)
    assert how_to_play(probe(film), film) == "remux"
    remux(film, tmp_path / "copy.mp4")
    before, after = (list(VideoReader(f).pictures(25)) for f in (film, tmp_path / "copy.mp4"))
    assert before[0].shown_size == after[0].shown_size
    apart = brightness(before)[: len(after)] - brightness(after)[: len(before)]
    assert np.abs(apart).max() < 1
    assert len(before) == pytest.approx(len(after), abs=4)  # how long the last one lasts
    for path in (film, tmp_path / "copy.mp4"):
        wave = np.concatenate(list(VideoReader(path).sound(16_000)))
        assert np.argmax(np.abs(wave) > 0.2) / 16_000 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("on_its_side", [False, True])
def test_pixels_that_are_no_squares_become_squares(on_its_side: bool, tmp_path: Path) -> None:
    """As those of a DVD: a film that is written anew is as wide, or as high, as it is shown."""
    film = write_clip(
        tmp_path / "dvd.mp4", flash(0.5, size=(96, 96)), steady(1), aspect=Fraction(2)
    )
    if on_its_side:
        turn(film)
    info = probe(film)
    assert info.pixel_aspect == 2
    encode(film, tmp_path / "copy.mp4", info)
    copy = probe(tmp_path / "copy.mp4")
    assert (copy.width, copy.height, copy.pixel_aspect) == (
        (48, 96, 1) if on_its_side else (192, 96, 1)
    )


def test_an_avi_file_is_written_anew(tmp_path: Path) -> None:
    """H.264 in it would be a matter of copying, but for the times that AVI does not have."""
    film = write_clip(tmp_path / "x.avi", flash(1), steady(4), tone(1, 4), sound_codec="mp3",
                      time_base=Fraction(1, 25), **H264)  # fmt: skip
    assert how_to_play(probe(film), film) == "encode"
    with pytest.raises(OutputError, match=r"x\.avi/x\.mp4: cannot be written"):
        encode(film, film / "x.mp4", probe(film))


def test_sound_lies_beside_its_pictures(page: Path) -> None:
    """In the file: a browser that plays would have to jump otherwise."""
    with av.open(str(page.parent / "films" / "old.mp4")) as copy:
        times = [(p.stream.type, float(p.pts * p.time_base)) for p in copy.demux() if p.size]
    seen = [time for kind, time in times if kind == "video"]
    assert 90 < len(seen) < 110
    assert all(
        abs(time - max([0.0, *(t for k, t in times[:i] if k == "video")])) < 0.5
        for i, (kind, time) in enumerate(times) if kind == "audio"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["matroska", "old"])
def test_copies_are_in_time(name: str, page: Path) -> None:
    copy = page.parent / "films" / f"{name}.mp4"
    assert how_to_play(probe(copy), copy) == "as it is"
    light = np.array([p.rgb(8, 8).mean() for p in VideoReader(copy).pictures(25)])
    assert np.argmax(light > 128) / 25 == pytest.approx(1, abs=0.08)
    wave = np.concatenate(list(VideoReader(copy).sound(16_000)))
    assert np.argmax(np.abs(wave) > 0.2) / 16_000 == pytest.approx(1, abs=0.08)


def test_captions_are_burnt_in(films: dict[str, Path], tmp_path: Path) -> None:
    folder = write_captioned(tmp_path, {"web": films["web"]}, {"web": EVENTS}, NAMES)
    pictures = [p.rgb(48, 64) for p in VideoReader(folder / "web.mp4").pictures(25)]
    plain = [p.rgb(48, 64) for p in VideoReader(films["web"]).pictures(25)]
    apart = np.array([
        np.abs(a[30:].astype(int) - b[30:]).max() for a, b in zip(pictures, plain, strict=False)
    ])  # fmt: skip
    assert apart[53:84].min() > 100  # [2, 3.5) s
    assert apart[90:99].max() < 60
    above = np.array([picture[:12].mean() for picture in pictures])
    assert np.argmax(above > 128) / 25 == pytest.approx(1, abs=0.08)


def test_captions_of_different_letters_differ(caplog: pytest.LogCaptureFixture) -> None:
    """Accents, Cyrillic and Greek; what no font of the machine has is told."""
    black = np.zeros((120, 160, 3), np.uint8)
    names = ("é", "ü", "ß", "д", "λ", "–", "e")
    drawn = [_Captions([Cue(0, 1, name, 0.9)]).draw(black, 0.5).tobytes() for name in names]
    assert len({*drawn}) == len(names)
    assert not caplog.messages
    _Captions([Cue(0, 1, "dog \U0001ffff", 0.9)]).draw(black, 0.5)
    assert "no font of this machine has all letters of 'dog" in caplog.text


def wait_for(condition: Any, seconds: float = 15) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def playing(browser: Any, script: str) -> Any:
    return browser.execute_script(f"const v = document.getElementById('video'); return {script}")


def test_a_click_jumps_there_and_plays(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    open_page(browser, page)
    titles = [o.text for o in Select(browser.find_element(By.ID, "film")).options]
    assert titles == ["matroska", "old", "plain", "web"]
    for name in titles:
        Select(browser.find_element(By.ID, "film")).select_by_visible_text(name)
        wait_for(lambda: playing(browser, "v.readyState >= 2"))
        assert playing(browser, "v.duration") == pytest.approx(4, abs=0.15)
        assert count(browser, ".lane button") == 3
        (bar,) = browser.find_elements(By.CSS_SELECTOR, ".lane button[title*='0:02.0']")
        assert "tone & more" in bar.get_attribute("title")
        bar.click()
        wait_for(lambda: playing(browser, "v.currentTime > 2.05 && !v.paused"))
        wait_for(lambda: browser.find_element(By.ID, "now").text == "tone & more (0.60)")
        head = playing(browser, "parseFloat(document.getElementById('head').style.left)")
        assert 48 < head < 95
        playing(browser, "v.pause()")
    assert browser.get_log("browser") == []
    assert count(browser, "#gone[hidden]") == 1


def test_the_least_score_and_the_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    wait_for(lambda: playing(browser, "v.readyState >= 2"))
    slider = browser.find_element(By.ID, "least")
    for _ in range(30):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert count(browser, ".lane button") == 2
    browser.find_elements(By.CSS_SELECTOR, ".lane button")[0].send_keys(Keys.ENTER)
    wait_for(lambda: playing(browser, "v.currentTime >= 1"))
    slider.send_keys(Keys.END)
    assert count(browser, ".lane button") == 0
    assert browser.find_element(By.ID, "none").is_displayed()
    assert browser.get_log("browser") == []


def test_each_class_has_its_lane_whatever_blanks_it_holds(
    browser: Any, films: dict[str, Path], tmp_path: Path
) -> None:
    names = ["dog  barking", "\tcat ", "never found"]
    page = write_page(tmp_path, {"plain": films["plain"]}, {"plain": EVENTS}, names)
    assert data_of(page)["classes"] == ["dog barking", "cat", "never found"]
    open_page(browser, page)
    assert count(browser, ".lane button") == len(EVENTS)
    assert count(browser, ".lane") == 2
    clocks = browser.execute_script("return [0, 59.94, 59.97, 119.96, 3600].map(clock)")
    assert clocks == ["0:00.0", "0:59.9", "1:00.0", "2:00.0", "60:00.0"]


def test_a_film_that_is_gone_is_told(browser: Any, films: dict[str, Path], tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    moved = tmp_path / "moved.mp4"
    shutil.copyfile(films["plain"], moved)
    (tmp_path / "x").mkdir()
    page = write_page(tmp_path / "x", {"moved": moved}, {"moved": EVENTS}, NAMES)
    moved.unlink()
    open_page(browser, page)
    told = wait_for(lambda: browser.find_element(By.ID, "gone").text)
    assert "../moved.mp4" in told
    assert count(browser, ".lane button") == 3  # the timelines stay
    browser.get_log("browser")  # the browser itself says that the file is not there


def test_what_is_done_is_said(
    films: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        write_page(tmp_path, {"old": films["old"]}, {"old": EVENTS}, NAMES)
    assert "browsers do not play mpeg4 and mp2 in .avi: written anew as" in caplog.text
