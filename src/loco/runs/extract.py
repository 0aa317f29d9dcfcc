"""Feature files of videos, from a composed config: for a data set, or for one prediction."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loco.data.extraction import Extraction
from loco.data.features import FeatureStore
from loco.errors import CheckpointError, IncompleteError, SettingError, VideoError, check_number
from loco.runs.results import counted, show
from loco.runs.settings import check_numbers
from loco.runs.text import console
from loco.runs.trusted import build_trusted
from loco.training.module import LocalizationModule
from loco.video.comparison import STEPS_APART, Compared, compare_features
from loco.video.extraction import Summary, describe_extractor, extract_videos
from loco.video.extractor import Extractor
from loco.video.sources import find_videos, take_shard

log = logging.getLogger(__name__)

STAGES = {
    "decode": "decode pictures", "resize": "make them small", "see": "look at them",
    "sound": "decode sound", "hear": "listen to it",
}  # fmt: skip


def extract(config: DictConfig) -> Summary:
    """Write the feature files of videos.

    Raises:
        IncompleteError: at the end, where some of the videos could not be used; it names them.
        VideoError: none could.
    """
    check_numbers(config)
    check_on_damage(config)
    root = Path(config.root)
    if config.compare is not None and not Path(config.compare).is_dir():
        raise VideoError(f"compare={config.compare}: expected a folder of feature files")
    try:
        check_number("compare_bound", config.compare_bound, low=0)
    except ValueError as error:
        raise SettingError(str(error)) from None
    extractor: Extractor = instantiate(config.extractor, on_no_audio=config.on_no_audio)
    tell_unchecked(extractor)
    videos = take_shard(videos_of_config(config), config.shard)
    extractor.to(config.device)
    summary = run_extraction(config, videos, root, extractor, _plain(config.extractor))
    log.info("%s: made %d, there already %d", root, len(summary.made), len(summary.kept))
    if summary.made:
        show(summary_table(summary))
    if config.compare is not None and (used := [*summary.made, *summary.kept]):
        store = FeatureStore(root, extractor.layout)
        compare(store, used, Path(config.compare), config.compare_bound, summary)
    tell_failed(summary)
    return summary


def compare(
    store: FeatureStore, video_ids: list[str], folder: Path, bound: float, summary: Summary
) -> None:
    """Show how far features are from those of a folder.

    Raises:
        VideoError: further than the bound, or there are none of these videos.
    """
    found, missing = compare_features(store, folder, video_ids)
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        log.warning("%s: %d files are not there to compare with: %s", folder, len(missing), names)
    if found:
        show(comparison_table(found, bound))
    far = [one for one in found if not one.within(bound)]
    if found and not far:
        return
    for reason in summary.failed.values():
        log.error(reason)
    if not found:
        raise VideoError(f"compare={folder}: holds no features of these videos")
    raise VideoError(
        f"compare={folder}: {len(far)} of {len(found)} files are further than "
        f"compare_bound={bound:g} from its own, or more than {STEPS_APART} steps longer or shorter"
    )


def comparison_table(found: list[Compared], bound: float) -> Table:
    """A row for each file, and for each kind of them."""
    table = Table(
        title="against the files to compare with",
        caption=f"error: norm of the difference, in norms of the other; ✗: above {bound:g}, or "
        f"more than {STEPS_APART} steps longer or shorter",
    )
    for name in ("file", "steps", "theirs", "cosine", "error", ""):
        table.add_column(name, justify="left" if name == "file" else "right")
    for one in found:
        mark = "" if one.within(bound) else "✗"
        name = one.pattern.replace("{id}", one.video_id)
        steps, theirs = map(str, one.steps)
        table.add_row(name, steps, theirs, f"{one.cosine:.4f}", f"{one.error:.4f}", mark)
    table.add_section()
    for pattern in dict.fromkeys(one.pattern for one in found):
        of = [one for one in found if one.pattern == pattern]
        cosine, error = median(one.cosine for one in of), median(one.error for one in of)
        table.add_row(f"median of {pattern}", "", "", f"{cosine:.4f}", f"{error:.4f}", "")
    return table


def extract_for_checkpoint(
    config: DictConfig, module: LocalizationModule, file: Path, trust: list[str]
) -> tuple[Path, Extractor, Summary]:
    """Features of a prediction's videos, made as those that a checkpoint was trained on.

    Returns:
        the folder of the files, what made them, and what was done.

    Raises:
        CheckpointError: nothing says what made the checkpoint's features, or it is another thing.
        VideoError: none of the videos could be used.
    """
    kept, own = module.hparams.get("extraction"), config.get("extractor")
    trained = None if kept is None else Extraction.from_plain(kept, file)
    if own is not None:
        plain = _plain(own)
        extractor: Extractor = instantiate(own, on_no_audio=config.on_no_audio)
    elif trained is None or not trained.extractor:
        raise CheckpointError(
            f"{file}: trained on features of which nothing says what made them; give a folder of "
            "such features (data.root=…), or say what makes them (extractor=lite)"
        )
    else:
        plain = trained.extractor
        extractor = build_trusted(
            plain, file, trust, CheckpointError, on_no_audio=config.on_no_audio
        )
    made = describe_extractor(extractor, plain)
    if trained is not None and trained.identity != made.identity:
        raise CheckpointError(
            f"{file}: trained on features of {trained.described}, the extractor here makes those "
            f"of {made.described} (different: {trained.differences(made)})"
        )
    grid = {key: module.hparams["data"]["layout"][key] for key in ("fps", "window", "stride")}
    if grid != {key: made.layout[key] for key in grid}:
        raise CheckpointError(
            f"{file}: trained on the grid {grid}, the extractor has another: {made.described}"
        )
    tell_unchecked(extractor)
    extractor.to(config.device)
    root = Path(config.output_dir) / "features"
    summary = run_extraction(config, videos_of_config(config), root, extractor, plain)
    if not summary.made and not summary.kept:
        tell_failed(summary)
    return root, extractor, summary


def check_on_damage(config: DictConfig) -> None:
    """Refuse another word than there is, before anything is read.

    Raises:
        SettingError: it is one.
    """
    if config.on_damage not in ("error", "keep"):
        raise SettingError(f"on_damage={config.on_damage}: expected error or keep")


def videos_of_config(config: DictConfig) -> dict[str, Path]:
    """Id → file of the config's `videos`."""
    given = config.videos
    given = OmegaConf.to_container(given) if OmegaConf.is_config(given) else str(given)
    if isinstance(given, dict):
        raise SettingError(f"videos={given}: expected a path or a list of paths")
    return find_videos(given, config.recursive)  # type: ignore[arg-type]


def tell_unchecked(extractor: Extractor) -> None:
    """Say first of all which nets were ported without published features to check them by."""
    if extractor.unchecked:
        log.warning(
            "what %s give here was not checked against published features, as no weights could be "
            "had; compare=FOLDER of `loco extract` does so",
            ", ".join(dict.fromkeys(extractor.unchecked)),
        )


def run_extraction(
    config: DictConfig,
    videos: Mapping[str, Path],
    root: Path,
    extractor: Extractor,
    plain: dict[str, Any],
) -> Summary:
    """Extract with a progress bar; warnings are told."""
    log.info("%s → %s", counted(len(videos), "video"), root)
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[film]}"))  # fmt: skip
    shown = sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=len(videos), film="")

        def progress(video_id: str, seconds: float, done: bool) -> None:
            film = "" if done else f"{video_id}: {seconds:.0f} s"
            bar.update(task, advance=int(done), film=film)

        summary = extract_videos(
            videos, root, extractor, config=plain, workers=config.workers,
            on_damage=config.on_damage, progress=progress,
        )  # fmt: skip
    for video_id, warnings in sorted(summary.warned.items()):
        log.warning("%s: %s", videos[video_id], "; ".join(warnings))
    return summary


def summary_table(summary: Summary) -> Table:
    """CPU seconds that a minute of video took, by stage."""
    minutes = summary.film_seconds / 60
    table = Table(
        title=f"{counted(len(summary.made), 'video')}, {minutes:.1f} minutes",
        caption="CPU seconds of all threads; stages run side by side",
    )
    table.add_column("stage")
    table.add_column("s a minute of video", justify="right")
    rows = {STAGES[stage]: spent for stage, spent in summary.seconds.items()}
    for name in STAGES.values():
        if name in rows:
            table.add_row(name, f"{rows[name] / minutes:.2f}")
    table.add_row("all", f"{sum(rows.values()) / minutes:.2f}", end_section=True)
    table.add_row("by the clock", f"{summary.wall / minutes:.2f}")
    return table


def tell_failed(summary: Summary) -> None:
    """Say at the end which videos could not be used.

    Raises:
        IncompleteError: some of them.
        VideoError: all of them.
    """
    if not summary.failed:
        return
    reasons = [summary.failed[video_id] for video_id in sorted(summary.failed)]
    used = len(summary.made) + len(summary.kept)
    if not used and len(reasons) == 1:
        raise VideoError(reasons[0])
    error = IncompleteError if used else VideoError
    raise error(
        f"{len(reasons)} of {used + len(reasons)} videos could not be used:\n"
        + "\n".join(f"  {reason}" for reason in reasons)
    )


def _plain(extractor: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(extractor, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
