"""Fetch a data set from its authors' repository, check it, and lay it where it is looked for.

For now that is unav100: its annotation file, and its I3D and VGGish features. A download that
broke off goes on with the same command. conf/fetch.yaml says what is fetched, and from where;
HF_ENDPOINT, HF_TOKEN and the other variables of huggingface_hub count.

loco fetch unav100 --list
loco fetch unav100 --annotations-only
loco fetch unav100 --features '*.zip'
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loco.errors import LocoError

if TYPE_CHECKING:
    from loco.data.features import FeatureLayout
    from loco.data.fetching import RemoteFile, Repository

SETS = ("unav100",)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)

    from omegaconf import OmegaConf

    from loco.cli.configs import config_folder, find_layout
    from loco.data.fetching import Repository, listing

    made: Any = OmegaConf.to_container(OmegaConf.load(config_folder() / "fetch.yaml"))
    settings = made[args.name]
    if args.repository:
        settings["repository"] = args.repository
    root = args.root or Path(settings["root"])
    layout = find_layout(settings["features"]["layout"])
    repository = Repository(settings, _by_hand(settings, root, layout))
    files = repository.files()
    if args.list:
        print("\n".join(f"{file.size:>15,}  {file.path}" for file in files))
        return 0
    annotations = _fetch_annotations(repository, files, settings, root)
    if args.annotations_only:
        return 0
    wanted = args.features or settings["features"]["files"]
    if not wanted:
        raise LocoError(
            "which files hold the features could not be looked up; name them by --features "
            f"'PATTERN' (it has: {listing(files)})"
        )
    folder = root / settings["features"]["folder"]
    _fetch_features(repository, files, wanted, annotations, folder, layout)
    return 0


def _by_hand(settings: dict[str, Any], root: Path, layout: FeatureLayout) -> str:
    names = ", ".join(layout.patterns)
    return (
        f"get {settings['annotations']['file']} from {settings['page']} into {root}, and {names} "
        f"of every video into {root / settings['features']['folder']}"
    )


def _fetch_annotations(
    repository: Repository, files: list[RemoteFile], settings: dict[str, Any], root: Path
) -> Path:
    """The annotation file in its place; one that is there already stays if it is good."""
    from loco.data.annotations import read_annotations
    from loco.data.fetching import chosen, listing, sha256_of

    expected = settings["annotations"]
    place = root / expected["file"]
    if not place.is_file():
        found = chosen(files, [expected["file"]])
        if not found:
            raise LocoError(f"{settings['repository']} has no {expected['file']} (it has: "
                            f"{listing(files)}); by hand: {repository.by_hand}")  # fmt: skip
        path = repository.fetch(found[0], root / ".download")
        path.replace(place)
    videos, right = len(read_annotations(place)), expected["videos"]
    if right and videos != right:
        raise LocoError(f"{place}: expected {right} videos, got {videos}; without it a new one is "
                        "fetched")  # fmt: skip
    same = expected["sha256"] in (None, sha256_of(place))
    print(f"{place}: {videos} videos" + ("" if same else "; not the very file that docs/data.md "
                                         "describes: figures may differ"))  # fmt: skip
    return place


def _fetch_features(
    repository: Repository,
    files: list[RemoteFile],
    patterns: list[str],
    annotations: Path,
    folder: Path,
    layout: FeatureLayout,
) -> None:
    from loco.data.fetching import check_room, chosen, human, incomplete_videos, listing, unpack

    lacking = incomplete_videos(annotations, folder, layout)
    if lacking:
        wanted = chosen(files, patterns)
        if not wanted:
            raise LocoError(f"--features {' '.join(patterns)}: no such file (it has: "
                            f"{listing(files)})")  # fmt: skip
        check_room(folder.parent, 2 * sum(file.size for file in wanted))
        for number, file in enumerate(wanted, start=1):
            print(f"{number} of {len(wanted)}: {file.path}, {human(file.size)}")
            path = repository.fetch(file, folder.parent / ".download")
            count = unpack(path, folder, layout)
            print(f"  {count} feature files in {folder}")
            path.unlink(missing_ok=True)
        lacking = incomplete_videos(annotations, folder, layout)
    if lacking:
        raise LocoError(f"{folder}: {len(lacking)} videos lack features, such as {lacking[0]}; "
                        "data.missing=skip trains without them")  # fmt: skip
    print(f"{folder}: features of all videos")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", choices=SETS, help="the data set")
    add("--root", type=Path, metavar="DIR", help="where it is laid (default: data/unav100, where "
        "data=unav100_… looks for it)")  # fmt: skip
    add("--list", action="store_true", help="only list the repository's files")
    add("--annotations-only", action="store_true", help="without features")
    add("--features", action="append", metavar="PATTERN", help="files of the repository that hold "
        "the features: .npy, .zip, .tar, .tar.gz; may be repeated")  # fmt: skip
    add("--repository", metavar="ID", help="another one than the authors'")
    return parser
