"""From annotation and feature files to loaders for training, validation, test and prediction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import lightning
import torch
from torch import distributed
from torch.utils.data import DataLoader

from loco.data.annotations import SUBSETS, Annotations, Video, read_annotations
from loco.data.augmentation import Augmentation, check_augmentations
from loco.data.dataset import RandomCrop, VideoDataset
from loco.data.extraction import Extraction, read_extraction
from loco.data.features import FeatureLayout, FeatureStore, Inspection
from loco.data.inspection import checked_files, told_lengths
from loco.data.sampler import (
    LengthBatchSampler,
    RepeatedBatchSampler,
    ResumableLoader,
    leave_signals_to_parent,
)
from loco.errors import AnnotationError, FeatureError, check_number
from loco.structures import Batch, Events, TimeGrid

log = logging.getLogger(__name__)

Stage = Literal["train", "validation", "test", "predict"]


class AVDataModule(lightning.LightningDataModule):
    """A data set of audio-visual features in files, with or without annotations.

    Defaults are neutral; what a recipe wants stands in `conf/data`. `use_distributed_sampler=False`
    must be given to a Trainer: the loaders divide the videos among the processes themselves.

    Args:
        root: folder of the feature files.
        annotations: annotation file; None allows prediction only.
        layout: how the feature files are named, and where their steps lie in time.
        batch_size: videos in a training batch of one process.
        eval_batch_size: videos in any other batch; None is `batch_size`.
        num_workers: processes that load; the batches are the same with any number.
        max_length: steps that a training item has at most; None for no limit. Other items are
            always whole.
        crop_ratio: smallest and largest part of a shorter video in training; None for all of it.
        augment: what else changes training items, by names of one's own, in that order; an entry
            that is None is left out.
        missing: "error" refuses a data set with a missing or unusable file, "skip" leaves these
            videos out, with a warning, those too whose values turn out unusable. A test
            goes on without the latter in any case; `unusable` tells which they are.
        modality: "audio" or "visual" puts zeros in place of the other one, to see what each is
            worth; "both".
        check: what is read of the files beforehand: "headers", or "full", every value.
        max_length_difference: steps by which the files of a video may differ in length.
        test_split: the split that is tested on, for data sets without a test split.
        predict_split: the split that is predicted; None is every video found in `root`.
        pool_batches: batches that are sorted by length together, see `LengthBatchSampler`.
        class_names: those of a trained model, see `read_annotations`; None is the file's.
        seed: start of shuffling and crops, ≥ 0.
        pin_memory: page-locked batches, for a GPU.
        task: name of the task that the data set sets, for a detector that knows several.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | Path | None,
        layout: FeatureLayout,
        *,
        batch_size: int = 1,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        max_length: int | None = None,
        crop_ratio: Sequence[float] | None = (0.9, 1.0),
        augment: Mapping[str, Augmentation | None] | None = None,
        missing: Literal["error", "skip"] = "error",
        modality: Literal["both", "audio", "visual"] = "both",
        check: Literal["headers", "full"] = "headers",
        max_length_difference: int = 8,
        test_split: str = "test",
        predict_split: str | None = None,
        pool_batches: int = 32,
        class_names: Sequence[str] | None = None,
        seed: int = 0,
        pin_memory: bool = False,
        task: str = "avel",
    ) -> None:
        super().__init__()
        if missing not in ("error", "skip"):
            raise ValueError(f"missing must be 'error' or 'skip', got {missing!r}")
        if modality not in ("both", "audio", "visual"):
            raise ValueError(f"modality must be 'both', 'audio' or 'visual', got {modality!r}")
        if check not in ("headers", "full"):
            raise ValueError(f"check must be 'headers' or 'full', got {check!r}")
        for name, split in (("test_split", test_split), ("predict_split", predict_split)):
            if split is not None and split not in SUBSETS:
                raise ValueError(f"{name} must be one of {SUBSETS}, got {split!r}")
        eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        sizes = {
            "batch_size": batch_size,
            "eval_batch_size": eval_batch_size,
            "pool_batches": pool_batches,
        }
        for name, size in sizes.items():
            check_number(name, size, 1, whole=True)
        for name, size in {
            "num_workers": num_workers, "max_length_difference": max_length_difference
        }.items():  # fmt: skip
            check_number(name, size, 0, whole=True)
        if not (crop_ratio is None or (isinstance(crop_ratio, Sequence) and len(crop_ratio) == 2)):
            raise ValueError(f"crop_ratio must be two numbers or None, got {crop_ratio}")
        ratio = None if crop_ratio is None else (crop_ratio[0], crop_ratio[1])
        self.root = Path(root)
        self.annotations_path = None if annotations is None else Path(annotations)
        self.layout = layout
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.crop = RandomCrop(max_length, ratio, seed)
        self.augment = [part for part in (augment or {}).values() if part is not None]
        check_augmentations(augment or {}, modality)
        self.missing = missing
        self.modality = modality
        self.check = check
        self.max_length_difference = max_length_difference
        self.test_split = test_split
        self.predict_split = predict_split
        self.pool_batches = pool_batches
        self.known_classes = None if class_names is None else list(class_names)
        self.predict_videos: Sequence[str] | None = None
        """Ids to predict where no split says which; None is all whose files are there."""
        self.seed = seed
        self.pin_memory = pin_memory
        self.task = task
        self.annotations: Annotations | None = None
        self.extraction: Extraction | None = None
        """What made the files, where that stands beside them; known once it is set up."""
        self._inspection: Inspection | None = None
        self._datasets: dict[Stage, VideoDataset] = {}

    # -- what is known once it is set up ------------------------------------------------------

    @property
    def grid(self) -> TimeGrid:
        """The feature grid."""
        return self.layout.grid

    @property
    def visual_channels(self) -> int:
        """C of the visual features, read from the files."""
        return self._inspected().visual_channels

    @property
    def audio_channels(self) -> int:
        """C of the audio features, read from the files."""
        return self._inspected().audio_channels

    @property
    def class_names(self) -> list[str]:
        """K class names by id."""
        return self._annotated("class names").class_names

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def unusable(self, video_ids: Iterable[str]) -> dict[str, str]:
        """Of these videos, and those left out from the start, the ones that cannot be read: why.

        Their files are read again, as the loaders' processes keep what they met to themselves.
        """
        reasons = {problem.video_id: str(problem) for problem in self._inspected().problems}
        store = FeatureStore(self.root, self.layout, self.max_length_difference)
        for video_id in video_ids:
            try:
                store.load(video_id)
            except FeatureError as error:
                reasons.setdefault(video_id, str(error))
        return reasons

    def dataset(self, stage: Stage) -> VideoDataset:
        """The videos of a stage, after `setup` or `prepare`."""
        if stage not in self._datasets:
            self.setup({"train": "fit", "validation": "validate"}.get(stage, stage))
        return self._datasets[stage]

    # -- setting up ---------------------------------------------------------------------------

    def prepare(self) -> Self:
        """Sets up without a Trainer: for training with annotations, else for prediction."""
        self.setup("predict" if self.annotations_path is None else "fit")
        return self

    def setup(self, stage: str | None = None) -> None:
        """Reads the annotations and checks all files that a stage needs; a second call is free.

        "fit" takes in the test split, as a training ends with a test and should not end there
        after days because of a missing file.

        Raises:
            AnnotationError: the annotation file is unusable, or lacks a split that is needed.
            FeatureError: everything that is wrong with the feature files.
        """
        stages: dict[str | None, tuple[Stage, ...]] = {
            "fit": ("train", "validation", "test"),
            "validate": ("validation",),
            "test": ("test",),
            "predict": ("predict",),
        }
        wanted = [name for name in stages.get(stage, stages["fit"]) if name not in self._datasets]
        if not wanted:
            return
        if self.annotations is None and self.annotations_path is not None:
            self.annotations = read_annotations(self.annotations_path, self.known_classes)
        store = FeatureStore(self.root, self.layout, self.max_length_difference)
        self.extraction = self._read_extraction()
        ids = {name: self._video_ids(name, store) for name in wanted}
        known = [] if self._inspection is None else list(self._inspection.lengths)
        inspection = self._inspect(store, [*known, *(i for some in ids.values() for i in some)])
        for name in wanted:
            videos = [self._video(i, inspection) for i in ids[name] if i in inspection.lengths]
            if not videos:
                raise FeatureError(f"{self.root}: no usable video is left for {name}")
            crop = self.crop if name == "train" else None
            self._datasets[name] = VideoDataset(
                videos, store, inspection.lengths, crop,
                skip_unusable=self.missing == "skip" or name == "test",
                task=self.task, modality=self.modality, augment=self.augment,
            )  # fmt: skip
        self._inspection = inspection

    def _read_extraction(self) -> Extraction | None:
        """What made the files, if that is known.

        Raises:
            FeatureError: they are on another grid than the layout's.
        """
        record = read_extraction(self.root)
        if record is not None:
            for name in ("fps", "window", "stride"):
                if record.layout[name] != getattr(self.layout, name):
                    raise FeatureError(
                        f"{self.root}: its features were made with {name} {record.layout[name]:g}, "
                        f"the layout says {getattr(self.layout, name):g}"
                    )
        return record

    def _video_ids(self, stage: Stage, store: FeatureStore) -> list[str]:
        if stage == "predict" and self.predict_split is None:
            found = list(self.predict_videos or store.find_videos())
            if not found:
                pattern = self.layout.patterns[0]
                inside = self.root / "features"
                hint = f"; data.root={inside} may be meant" if inside.is_dir() else ""
                raise FeatureError(
                    f"{self.root}: expected files named {pattern!r}, found none{hint}"
                )
            return found
        split = {"test": self.test_split, "predict": self.predict_split}.get(stage) or stage
        annotations = self._annotated(f"the {split} split")
        if not annotations.class_names:
            raise AnnotationError(f"{annotations.source}: expected events, no video has any")
        return [video.id for video in annotations.split(split)]

    def _video(self, video_id: str, inspection: Inspection) -> Video:
        if self.annotations is not None and video_id in self.annotations:
            return self.annotations[video_id]
        if self.extraction is not None and video_id in self.extraction.videos:
            duration = self.extraction.videos[video_id].duration
        else:
            duration = self.grid.end_seconds(inspection.lengths[video_id])
        return Video(video_id, duration, "predict", Events.empty())

    def _inspect(self, store: FeatureStore, video_ids: list[str]) -> Inspection:
        inspection = checked_files(
            store, video_ids, full=self.check == "full", skip=self.missing == "skip"
        )
        if inspection.float64 and self._inspection is None:
            log.warning(
                "%s: %d files hold float64, which is read as float32; files of float32 take half "
                "the time to read", self.root, inspection.float64,
            )  # fmt: skip
        if told := told_lengths(self.root, self.grid, inspection.lengths, self.annotations or {}):
            log.warning("%s", told)
        return inspection

    def _annotated(self, what: str) -> Annotations:
        if self.annotations_path is None:
            raise AnnotationError(f"{what}: expected an annotation file, none is given")
        if self.annotations is None:
            self.annotations = read_annotations(self.annotations_path, self.known_classes)
        return self.annotations

    def _inspected(self) -> Inspection:
        if self._inspection is None:
            raise RuntimeError("AVDataModule: call prepare() or setup(stage) first")
        return self._inspection

    # -- loaders ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Batch]:
        """Random crops in batches of similar length, in another order each epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole videos of the validation split."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Whole videos of the test split."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Whole videos of `predict_split`, or all that are found."""
        return self._loader("predict")

    def _loader(self, stage: Stage) -> DataLoader[Batch]:
        training = stage == "train"
        dataset = self.dataset(stage)
        parallel = distributed.is_available() and distributed.is_initialized()
        repeated = getattr(self.trainer, "overfit_batches", 0) > 0
        sampler = (RepeatedBatchSampler if repeated else LengthBatchSampler)(
            dataset.crop_lengths,
            self.batch_size if training else self.eval_batch_size,
            training=training,
            seed=self.seed,
            num_replicas=distributed.get_world_size() if parallel else 1,
            rank=distributed.get_rank() if parallel else 0,
            pool_batches=self.pool_batches,
        )
        return ResumableLoader(
            dataset,
            batch_size=None,  # the sampler gives whole batches, as lists of keys
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.pin_memory,
            # of its own, so that loading draws nothing from the generator that dropout uses
            generator=torch.Generator().manual_seed(self.seed),
        )
