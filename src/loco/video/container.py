"""Opens a video file, or says in a line why it cannot be used; what a film holds, by its header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from loco.errors import VideoError

_MP4_PARTS = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file's header says; a shortened file's may say more than there is.

    Args:
        duration: seconds, None where the header has none.
        fps: frames a second in the mean, None where it is not known.
        width: pixels, as stored, before any turning.
        height: pixels, likewise.
        codec: of the pictures, such as "h264".
        sound_codec: such as "aac"; None where there is no sound.
        format: names of the container's format, such as "mov,mp4,m4a,3gp,3g2,mj2".
        pixel_aspect: how much wider than high a stored pixel is shown.
    """

    duration: float | None
    fps: float | None
    width: int
    height: int
    codec: str
    sound_codec: str | None
    format: str
    pixel_aspect: float = 1.0


def import_av() -> Any:
    """PyAV, which only this room needs.

    Raises:
        VideoError: it is not installed; says how to.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError(
            f"reading videos needs PyAV ({error}): pip install '.[video]' in loco's checkout"
        ) from None
    return av


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """PyAV's container of a file on this machine, closed at the end.

    Raises:
        VideoError: no such file, or nothing that can be read as a video.
    """
    av = import_av()
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing" if not path.exists() else "no file"
            raise VideoError(f"{path}: expected a video file, found {found}")
        path.open("rb").close()
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        # absolute: a name like "concat:x" is no protocol then; a playlist may name files only
        container = av.open(
            str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"{path}: {_why_unreadable(path, error)}") from None
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from None
    with container:
        yield container


def probe(path: str | Path) -> VideoInfo:
    """What a video's header says, without decoding anything.

    Raises:
        VideoError: it is no video.
    """
    path = Path(path)
    with open_container(path) as container:
        pictures, sound = picture_stream(container, path), sound_stream(container, path)
        length, rate = length_of(container), pictures.average_rate
        return VideoInfo(
            None if length is None else float(length), float(rate) if rate else None,
            pictures.codec_context.width, pictures.codec_context.height,
            pictures.codec_context.name, sound and sound.codec_context.name, container.format.name,
            float(pictures.sample_aspect_ratio or 1),
        )  # fmt: skip


def picture_stream(container: Any, path: Path) -> Any:
    """The stream of pictures; the cover of a piece of music is none.

    Raises:
        VideoError: there is none, or none that can be decoded.
    """
    cover = import_av().stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(
            f"{path}: expected moving pictures, it has no video stream (found: {held})"
        )
    return _decodable(streams[0], path)


def sound_stream(container: Any, path: Path) -> Any | None:
    """The stream of sound that players take, None where there is none.

    Raises:
        VideoError: it cannot be decoded.
    """
    stream = container.streams.best("audio")
    return None if stream is None else _decodable(stream, path)


def _decodable(stream: Any, path: Path) -> Any:
    if stream.codec_context is None:
        what = "sound" if stream.type == "audio" else "pictures"
        raise VideoError(f"{path}: FFmpeg does not know the form of its {what}")
    return stream


def start_of(container: Any) -> Fraction:
    """The time that a film's clock begins with, in seconds: 0 on the film's own timeline."""
    return Fraction(container.start_time or 0, 1_000_000)


def length_of(container: Any) -> Fraction | None:
    """Seconds from a film's start to its end, as its header has them; None where it does not."""
    if container.duration is None:
        return None
    said = Fraction(container.duration, 1_000_000)
    # Matroska counts from time 0, other forms from the film's start
    return said - start_of(container) if "matroska" in container.format.name else said


def _why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that FFmpeg does not open: it has one word for all of it."""
    if path.stat().st_size == 0:
        return "empty, 0 bytes"
    parts = _mp4_parts(path)
    if parts and b"moov" not in parts:
        return (
            "cut off: an MP4 file without its index (the 'moov' part at its end); the recording or "
            "the download was not finished"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return f"not a video that FFmpeg can read ({reason})"


def _mp4_parts(path: Path) -> list[bytes]:
    """Kinds of the outermost parts of an MP4 file; nothing where it is none."""
    parts: list[bytes] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position + 8 <= size and len(parts) < 10_000:
            file.seek(position)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if not parts and kind not in _MP4_PARTS:
                return []
            parts.append(kind)
            if length == 1 and len(head) == 16:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # to the end of the file, or damaged
                break
            position += length
    return parts
