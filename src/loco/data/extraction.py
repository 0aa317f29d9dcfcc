"""What stands beside feature files that were made from videos: by what, and of which videos.

`loco extract` writes `extraction.json`; the data module reads it, and a checkpoint takes what made
its features along, so that those of something else are refused and new videos get the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loco.errors import FeatureError
from loco.files import read_json, write_text

FILE = "extraction.json"


@dataclass(frozen=True, slots=True)
class ExtractedVideo:
    """What is known of one video's files.

    Args:
        source: name of the video file.
        bytes: its size, by which another file of that name is noticed.
        duration: seconds.
        steps: T.
        warnings: what was wrong with it and was kept.
        sample: what `sampled_sha256` says of it, for another one of that size; "" if not known.
    """

    source: str
    bytes: int
    duration: float
    steps: int
    warnings: list[str] = field(default_factory=list)
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What made the feature files of a folder.

    Args:
        layout: plain values of the `FeatureLayout`: visual, audio, fps, window, stride.
        encoders: of each file pattern, what its encoder calls its identity.
        extractor: plain values with `_target_` from which the extractor is built again.
        versions: of the packages that decoded and computed; they are not part of the identity.
        videos: by id.
    """

    layout: dict[str, Any]
    encoders: dict[str, dict[str, Any]]
    extractor: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    videos: dict[str, ExtractedVideo] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits, the same for files that may be mixed."""
        plain = json.dumps([self.layout, self.encoders], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:12]

    @property
    def described(self) -> str:
        """The encoders and the grid in a few words."""
        names = " + ".join(str(settings["name"]) for settings in self.encoders.values())
        grid = "{fps:g} fps, window {window}, stride {stride}".format(**self.layout)
        return f"{names} ({grid}; {self.identity})"

    def differences(self, other: Extraction) -> str:
        """What the other one has differently, such as `size 160 → 224`; nothing if it does not."""
        ours, theirs = _settings(self), _settings(other)
        return ", ".join(
            f"{key} {ours.get(key, 'none')} → {theirs.get(key, 'none')}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        )

    def without_videos(self) -> dict[str, Any]:
        """Plain values of what a checkpoint keeps."""
        return {key: value for key, value in asdict(self).items() if key != "videos"}

    @classmethod
    def from_plain(cls, plain: Any, source: str | Path) -> Extraction:
        """From what `without_videos`, or the file, holds.

        Raises:
            FeatureError: it holds something else.
        """
        try:
            videos = {
                name: ExtractedVideo(**video) for name, video in plain.get("videos", {}).items()
            }
            record = cls(**{**plain, "videos": videos})
            _ = record.described
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FeatureError(
                f"{source}: expected what `loco extract` writes ({type(error).__name__}: {error})"
            ) from None
        return record


def read_extraction(root: str | Path) -> Extraction | None:
    """What made the feature files below `root`; None where nothing is said of that.

    Raises:
        FeatureError: the file cannot be read.
    """
    path = Path(root) / FILE
    if not os.path.lexists(path):
        return None
    return Extraction.from_plain(read_json(path, FeatureError), path)


def write_extraction(root: str | Path, record: Extraction) -> None:
    """Write the file, whole or not at all."""
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"
    write_text(Path(root) / FILE, text)


def _settings(record: Extraction) -> dict[str, str]:
    """All that the identity is made of, by a readable name; long sums shortened."""
    flat = {f"layout {key}": str(value) for key, value in record.layout.items()}
    for pattern, settings in record.encoders.items():
        for key, value in _walk(settings):
            flat[f"{pattern} {key}"] = value
    return {key: value[:8] if len(value) == 64 else value for key, value in flat.items()}


def _walk(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found += _walk(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", str(value)))
    return found
