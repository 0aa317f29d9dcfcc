"""A data set from its authors' repository at Hugging Face, checked and laid where it is looked for.

What is fetched is said by `conf/fetch.yaml`. Downloads go on where they broke off; archives are
unpacked by file names alone, so that no path in them leads anywhere else.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from loco.data.annotations import read_annotations
from loco.data.features import FeatureLayout
from loco.errors import LocoError, listed

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError,
    RuntimeError,  # what is encrypted, or compressed in a way that Python does not know
)  # fmt: skip


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository: its path there, bytes, and SHA-256 where the hub knows it."""

    path: str
    size: int
    sha256: str | None = None


class Repository:
    """The authors' repository; the environment's HF_ENDPOINT names another hub.

    Args:
        settings: of one data set in `conf/fetch.yaml`.
        by_hand: what to do without a network, for messages.

    Raises:
        LocoError: huggingface_hub is not installed.
    """

    def __init__(self, settings: Mapping[str, Any], by_hand: str) -> None:
        try:
            import huggingface_hub
        except ImportError:
            raise LocoError(
                "loco fetch needs huggingface_hub: pip install '.[fetch]' in loco's checkout; "
                f"without it {by_hand}"
            ) from None
        self._hub = huggingface_hub
        self.by_hand = by_hand
        self.endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        self.where = {
            "repo_id": settings["repository"], "revision": settings["revision"],
            "repo_type": "dataset",
        }  # fmt: skip

    def files(self) -> list[RemoteFile]:
        """All files that it holds.

        Raises:
            LocoError: it cannot be reached; says what to get by hand.
        """
        with self._naming("listed"):
            api = self._hub.HfApi(endpoint=self.endpoint)
            entries: Any = api.list_repo_tree(**self.where, recursive=True)
            return [
                RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None)
                for entry in entries
                if hasattr(entry, "size")
            ]

    def fetch(self, file: RemoteFile, folder: Path) -> Path:
        """A file below a folder, downloaded from where an earlier attempt broke off, and checked.

        The library's own download begins anew in each process; its transfer of bytes does not.

        Raises:
            LocoError: the network failed, or what came is not what the hub lists.
        """
        from huggingface_hub.file_download import http_get

        path = folder / PurePosixPath(file.path).name
        if path.is_file() and path.stat().st_size == file.size:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{file.size}.part")
        url = self._hub.hf_hub_url(filename=file.path, endpoint=self.endpoint, **self.where)
        what = f"fetched ({file.path}; the same command goes on with it)"
        with self._naming(what), part.open("ab", buffering=0) as unfinished:
            http_get(
                url, unfinished, resume_size=unfinished.tell(), expected_size=file.size,
                headers=self._hub.utils.build_hf_headers(), displayed_filename=path.name,
            )  # fmt: skip
        size, digest = part.stat().st_size, sha256_of(part) if file.sha256 else None
        if size != file.size or digest != file.sha256:
            part.unlink()
            found = f"{size} bytes" if size != file.size else "another SHA-256"
            raise LocoError(
                f"{file.path}: damaged on its way, removed: expected {file.size} bytes, got {found}"
            )
        part.replace(path)
        return path

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except (LocoError, KeyboardInterrupt):
            raise
        except Exception as error:  # the hub's, the network's and the system's have no common base
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
            raise LocoError(
                f"{self.endpoint}: {self.where['repo_id']} could not be {what}: {reason}; "
                f"by hand: {self.by_hand}"
            ) from error


def chosen(files: Iterable[RemoteFile], patterns: Sequence[str]) -> list[RemoteFile]:
    """Those whose path, or name, fits one of the patterns."""
    return [
        file for file in files
        if any(fnmatch.fnmatch(file.path, p) or fnmatch.fnmatch(PurePosixPath(file.path).name, p)
               for p in patterns)
    ]  # fmt: skip


def listing(files: Sequence[RemoteFile], most: int = 12) -> str:
    """Files with their sizes in a line, the largest first."""
    largest = sorted(files, key=lambda file: -file.size)
    return listed([f"{file.path} ({human(file.size)})" for file in largest], most)


def human(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_room(folder: Path, needed: int) -> None:
    """Refuse what the disk has no room for.

    Raises:
        LocoError: says how much is free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise LocoError(f"{folder}: {human(needed)} are needed, {human(free)} are free")


def unpack(source: Path, folder: Path, layout: FeatureLayout) -> int:
    """Feature files of an archive, or one by itself, into a folder; returns how many.

    Args:
        source: a download; a file by itself is moved.
        folder: the features' folder.
        layout: names what counts; all else is left.

    Raises:
        LocoError: no archive that can be read.
    """
    endings = tuple(pattern.removeprefix("{id}") for pattern in layout.patterns)
    if source.name.endswith(endings):
        folder.mkdir(parents=True, exist_ok=True)
        source.replace(folder / source.name)
        return 1
    if not source.name.endswith(ARCHIVES):
        raise LocoError(f"{source}: expected {', '.join(ARCHIVES)} or files such as *{endings[0]}")
    count = 0
    try:
        for name, size, opened in _members(source):
            name = PurePosixPath(name).name
            target = folder / name
            if not name.endswith(endings) or name.startswith("."):
                continue
            if not (target.is_file() and target.stat().st_size == size):  # of an earlier attempt
                folder.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{name}.part")
                with opened() as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
                part.replace(target)
            count += 1
    except DAMAGED as error:
        raise LocoError(f"{source}: cannot be unpacked: {error}") from None
    return count


def _members(source: Path) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Name, bytes and how to open each plain file of an archive."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, partial(archive.open, entry)
        return
    with tarfile.open(source) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, member.size, partial(tar.extractfile, member)


def incomplete_videos(annotations: Path, folder: Path, layout: FeatureLayout) -> list[str]:
    """Ids of annotated videos that lack a feature file."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [
        video for video in read_annotations(annotations)
        if any(pattern.replace("{id}", video) not in there for pattern in layout.patterns)
    ]  # fmt: skip
