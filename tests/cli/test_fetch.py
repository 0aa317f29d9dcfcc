"""Fetching a data set, against a hub of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from loco.cli import configs, main

pytest.importorskip("huggingface_hub")

NAME = "unav100_annotations.json"
VIDEOS = {"-0nq": "train", "b": "validation", "c": "test"}


def annotations() -> bytes:
    events = [{"segment": [0.5, 2.0], "label": "a", "label_id": 0}]
    database = {
        video: {"duration": 10.0, "subset": subset, "annotations": events}
        for video, subset in VIDEOS.items()
    }
    return json.dumps({"database": database}).encode()


def features(*videos: str) -> bytes:
    """A .zip with the features of videos, in a folder, and what tries to leave it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for video in videos:
            for kind, channels in (("rgb", 1024), ("flow", 1024), ("vggish", 128)):
                array = io.BytesIO()
                np.save(array, np.random.default_rng(0).normal(size=(30, channels)))
                archive.writestr(f"av_features/../../{video}_{kind}.npy", array.getvalue())
        archive.writestr("av_features/readme.txt", "not a feature file")
    return file.getvalue()


class Hub:
    """The routes of a hub that huggingface_hub asks for, and what goes wrong on purpose.

    Attributes:
        files: by path in the repository.
        breaks: paths whose download ends after half of the bytes, and does not go on.
        asked: method, path and range of each request.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.breaks: set[str] = set()
        self.asked: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request: Any, body: bool) -> None:
        path = request.path.partition("?")[0]
        wanted = request.headers.get("Range")
        self.asked.append((request.command, path, wanted))
        if path.startswith("/api/datasets/ttgeng233/UnAV-100/tree/main"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                | ({"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content),
                            "pointerSize": 130}} if name.endswith(".zip") else {})
                for name, content in self.files.items()
            ]  # fmt: skip
            self.send(request, 200, json.dumps(entries).encode(), {}, body)
            return
        found = re.fullmatch(r"/datasets/ttgeng233/UnAV-100/resolve/main/(.+)", path)
        if not found or found[1] not in self.files:
            self.send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
            return
        content = self.files[found[1]]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "1" * 40,
                   "Accept-Ranges": "bytes"}  # fmt: skip
        broken = body and found[1] in self.breaks
        if wanted:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.send(request, 206, content[first:], headers, body, 0 if broken else None)
            return
        self.send(request, 200, content, headers, body, len(content) // 2 if broken else None)

    def send(
        self, request: Any, status: int, content: bytes, headers: dict[str, str], body: bool,
        stop: int | None = None,
    ) -> None:  # fmt: skip
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(content[:stop])
        if stop is not None:
            request.wfile.flush()
            request.close_connection = True


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with a small UnAV-100, and settings that expect it."""
    made = OmegaConf.load(configs.config_folder() / "fetch.yaml")
    made.unav100.annotations.videos = len(VIDEOS)
    conf = tmp_path / "conf"
    (conf / "data").mkdir(parents=True)
    OmegaConf.save(made, conf / "fetch.yaml")
    layout = configs.config_folder() / "data" / "unav100_i3d_vggish.yaml"
    (conf / "data" / layout.name).write_text(layout.read_text())
    monkeypatch.setattr(configs, "config_folder", lambda: conf)
    hub = Hub({f"annotations/{NAME}": annotations(), "features/av.zip": features(*VIDEOS),
               "README.md": b"x"})  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "5")
    monkeypatch.chdir(tmp_path)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that fails."""
    assert main(["fetch", "unav100", *words]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    return line


def test_what_is_there_is_listed_and_the_rest_asked_for(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "unav100", "--list"]) == 0
    assert "features/av.zip" in capsys.readouterr().out
    assert not Path("data").exists()
    line = error_of(capsys)
    assert "name them by --features" in line
    assert "features/av.zip (" in line
    place = Path("data/unav100") / NAME
    assert place.read_bytes() == annotations()
    assert "no such file" in error_of(capsys, "--features", "*.tar")
    place.write_text('{"database": {}}')
    assert "expected 3 videos, got 0" in error_of(capsys)


def test_a_data_set_is_complete_where_it_is_looked_for(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "unav100", "--features", "*.zip"]) == 0
    told = capsys.readouterr().out
    assert "9 feature files" in told
    assert "not the very file" in told
    folder = Path("data/unav100/i3d_vggish")
    assert {path.name for path in folder.iterdir()} == {
        f"{video}_{kind}.npy" for video in VIDEOS for kind in ("rgb", "flow", "vggish")
    }
    assert np.load(folder / "-0nq_rgb.npy").shape == (30, 1024)
    assert {path.name for path in Path().iterdir()} == {"conf", "data"}
    assert not list(Path("data/unav100/.download").iterdir())
    asked = len(hub.asked)
    assert main(["fetch", "unav100", "--features", "*.zip"]) == 0
    assert len(hub.asked) == asked + 1  # the list alone


def test_a_broken_download_goes_on(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's own attempts
    hub.breaks = {"features/av.zip"}
    assert "the same command goes on" in error_of(capsys, "--features", "av.zip")
    hub.breaks = set()
    hub.asked.clear()
    assert main(["fetch", "unav100", "--features", "av.zip"]) == 0
    size = len(hub.files["features/av.zip"])
    ranges = [wanted for _, path, wanted in hub.asked if path.endswith("av.zip") and wanted]
    assert any(0 < int(wanted[6:].split("-")[0]) <= size // 2 for wanted in ranges)
    assert len(list(Path("data/unav100/i3d_vggish").iterdir())) == 9


def test_what_does_not_fit_is_a_line(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files["features/av.zip"] = features("b", "c")
    line = error_of(capsys, "--features", "*.zip")
    assert "1 videos lack features, such as -0nq" in line
    hub.files["features/av.zip"] = b"no archive"
    assert "cannot be unpacked" in error_of(capsys, "--features", "*.zip")
    del hub.files[f"annotations/{NAME}"]
    Path("data/unav100", NAME).unlink()
    assert f"has no {NAME}" in error_of(capsys)


@pytest.mark.parametrize("how", ["damaged", "encrypted"])
def test_an_archive_that_cannot_be_unpacked_is_a_line(
    how: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(features(*VIDEOS))
    if how == "damaged":
        content[30 + content[26]] = 0xFF  # the data's first byte, behind header and name
    else:
        for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(mark) + flags] |= 1
    hub.files["features/av.zip"] = bytes(content)
    line = error_of(capsys, "--features", "*.zip")
    assert "av.zip: cannot be unpacked: " in line


def test_without_a_network_it_says_what_to_do_by_hand(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's own attempts
    line = error_of(capsys)
    for part in (
        "could not be listed", f"get {NAME} from https://unav100.github.io into data/unav100",
        "{id}_vggish.npy of every video into data/unav100/i3d_vggish",
    ):  # fmt: skip
        assert part in line
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert "pip install '.[fetch]'" in error_of(capsys)
