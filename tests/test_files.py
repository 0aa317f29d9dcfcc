"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loco.errors import OutputError
from loco.files import replacing, sampled_sha256, write_text


def test_a_file_is_there_at_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with replacing(path) as unfinished:
            unfinished.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("ending", [RuntimeError, KeyboardInterrupt])
def test_what_ends_the_writing_leaves_the_old_one(
    ending: type[BaseException], tmp_path: Path
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write() -> None:
        with replacing(tmp_path / "a.txt") as unfinished:
            unfinished.write_text("half")
            raise ending

    with pytest.raises(ending):
        write()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_text("much more than what comes now")
    write_text(tmp_path / "a.txt", "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Each writes a file of its own beside the target; the last one counts, and it is whole."""
    with replacing(tmp_path / "a.txt", shared=True) as mine:
        assert mine.name == f"a.txt.{os.getpid()}.part"
        mine.write_text("mine")
        write_text(tmp_path / "a.txt", "other's")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_a_file_that_nobody_wrote(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"a\.txt: cannot be written: No such file"),
        replacing(tmp_path / "a.txt"),
    ):
        pass


def test_a_sample_tells_large_files_apart(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 4000
    seen = set()
    for i, content in enumerate(
        [b"", b"a", b"b", whole, b"x" + whole[1:], whole[:-1] + b"x", whole + b"x"]
    ):
        path = tmp_path / str(i)
        path.write_bytes(content)
        assert sampled_sha256(path) == sampled_sha256(path)
        seen.add(sampled_sha256(path))
    assert len(seen) == 7
    inside = 500_000  # another half of the file: some of its places are looked at
    (tmp_path / "3").write_bytes(whole[:inside] + bytes(len(whole) - inside))
    assert sampled_sha256(tmp_path / "3") not in seen
