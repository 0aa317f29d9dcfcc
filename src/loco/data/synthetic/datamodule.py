"""The embedded default data set: made on first use, then read from disk like any other."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from rich.markup import escape
from rich.progress import Progress

from loco.data.datamodule import AVDataModule
from loco.data.features import FeatureLayout
from loco.data.synthetic.generator import SyntheticConfig, SyntheticSummary, make_synthetic
from loco.data.synthetic.tasks import EventKind, annotations_of, write_task

log = logging.getLogger(__name__)


class SyntheticDataModule(AVDataModule):
    """An `AVDataModule` whose files `prepare_data` makes where they are not there yet.

    Args:
        root: folder of the data set; it gets `annotations.json` and `features/`.
        annotations: a real annotation file, to make features for its videos and events; None draws
            videos like UnAV-100's.
        layout: how the feature files are named, and where their steps lie in time.
        generator: settings of the generator; the defaults take what stands in `root`, with whatever
            settings that was made, unless the command gives one of them.
        max_videos: of a real annotation file, use so many videos.
        events: what counts as an event: what is seen and heard at once (`both`, the task of
            UnAV-100), what is seen (`visual`) or what is heard (`audio`), the other or not.
        generate: make the data where it is not there yet. False reads what is there: `root` is a
            folder that was made, or one of feature files, for which `annotations` is the file.
        **settings: of the `AVDataModule`.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | Path | None,
        layout: FeatureLayout,
        *,
        generator: SyntheticConfig | None = None,
        max_videos: int | None = None,
        events: EventKind = "both",
        generate: bool = True,
        **settings: Any,
    ) -> None:
        folder = Path(root)
        files, truth = folder / "features", annotations_of(folder, events)
        if not generate:
            files = files if files.is_dir() else folder
            truth = truth if annotations is None else Path(annotations)
        super().__init__(files, truth, layout, **settings)
        self.folder = folder
        self.generate = generate
        self.source = annotations
        self.generator = SyntheticConfig() if generator is None else generator
        self.max_videos = max_videos
        self.events = events

    def prepare_data(self) -> None:
        """Make the data set; nothing is done where it stands already, or with `generate=False`."""
        if not self.generate:
            return
        summary = self.make(show_progress=getattr(rank_zero_only, "rank", 0) == 0)
        if summary.created:
            log.info("%s: made, as there was no data", self.folder)

    def make(self, show_progress: bool = False) -> SyntheticSummary:
        """The same, telling what is there now."""
        with Progress(transient=True, disable=not show_progress) as bar:
            task = bar.add_task(escape(f"making {self.folder}"), total=None)
            summary = make_synthetic(
                self.folder,
                self.layout,
                None if self._takes_any() else self.generator,
                annotations=self.source,
                max_videos=self.max_videos,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        write_task(self.folder, self.events)
        return summary

    def _takes_any(self) -> bool:
        """Whether no setting of the generator was given, not even one that is the default."""
        words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
        given = any(re.match(r"[+~]*([\w.]+\.)?generator[.@=]", word) for word in words)
        return self.generator == SyntheticConfig() and not given
