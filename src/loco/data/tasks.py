"""Several data sets at once, each in a layout of its own: a batch comes from one, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Self

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from loco.data.datamodule import AVDataModule
from loco.data.dataset import Key, VideoDataset
from loco.data.sampler import (
    LengthBatchSampler,
    ResumableLoader,
    leave_signals_to_parent,
)
from loco.data.turns import Turns
from loco.errors import FeatureError
from loco.structures import Batch

Turn = tuple[str, list[Key]]
"""A task, and the keys of its next batch."""


class TaskSampler(Sampler[Turn]):
    """Yields the batches of all tasks in turn; for a `ResumableLoader`.

    An epoch has as many rounds as the longest task has batches. Each task goes through its own
    epochs meanwhile, the short ones through several.

    Args:
        samplers: of each task.
        turns: whose turn it is.
    """

    def __init__(self, samplers: Mapping[str, LengthBatchSampler], turns: Turns) -> None:
        self.samplers = dict(samplers)
        self.turns = turns
        self.epoch = 0
        self.first_batch = 0  # where the next iteration begins

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that is iterated over next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Turns in an epoch, the same in all epochs."""
        return len(self.samplers) * max(map(len, self.samplers.values()))

    def __iter__(self) -> Iterator[Turn]:
        at: dict[str, tuple[int, list[list[Key]]]] = {}
        for task, number in islice(self.turns.order(len(self)), self.first_batch, None):
            sampler = self.samplers[task]
            epoch, place = divmod(number, len(sampler))
            if task not in at or at[task][0] != epoch:
                sampler.set_epoch(epoch)
                at[task] = epoch, list(sampler)
            yield task, at[task][1][place]


class TaskDataset(Dataset[Batch]):
    """The training videos of all tasks; gives a batch for a task and keys of its own."""

    def __init__(self, datasets: Mapping[str, VideoDataset]) -> None:
        self.datasets = dict(datasets)

    def __len__(self) -> int:
        return sum(map(len, self.datasets.values()))

    def __getitem__(self, turn: Turn) -> Batch:
        task, keys = turn
        return self.datasets[task][keys]


class MultiTaskDataModule(lightning.LightningDataModule):
    """Data sets by the names of their tasks, for one net that learns all of them.

    Args:
        sets: the data set of each task, which takes its name. Their channels must be the same,
            since a net embeds the features of all with the same weights.
        stop_and_go: train a task less once it no longer gets better, see `Turns`.
        num_workers: processes that load for training; the batches are the same with any number.
        root, batch_size, generator: said once for all sets, where their configurations refer to
            these; nothing is done with them here.

    Raises:
        ValueError: there is no data set.
    """

    def __init__(
        self,
        sets: Mapping[str, AVDataModule],
        *,
        stop_and_go: bool = True,
        num_workers: int = 0,
        root: object = None,
        batch_size: object = None,
        generator: object = None,
    ) -> None:
        super().__init__()
        if not sets:
            raise ValueError("sets must hold a data set for each task")
        self.sets = dict(sets)
        for task, data in self.sets.items():
            data.task = task
        self.num_workers = num_workers
        self.turns = Turns(list(self.sets), stop_and_go=stop_and_go)

    # -- what is known once it is set up ------------------------------------------------------

    @property
    def visual_channels(self) -> int:
        """C of the visual features of all data sets."""
        return self._first.visual_channels

    @property
    def audio_channels(self) -> int:
        """C of the audio features of all data sets."""
        return self._first.audio_channels

    @property
    def class_names(self) -> dict[str, list[str]]:
        """K class names by id, of each task."""
        return {task: data.class_names for task, data in self.sets.items()}

    @property
    def num_classes(self) -> dict[str, int]:
        """K of each task."""
        return {task: data.num_classes for task, data in self.sets.items()}

    @property
    def _first(self) -> AVDataModule:
        return next(iter(self.sets.values()))

    # -- setting up ---------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Let each data set do what it does once on a machine."""
        for data in self.sets.values():
            data.prepare_data()

    def prepare(self) -> Self:
        """Sets all of them up without a Trainer, for training."""
        self.setup("fit")
        return self

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks what a stage needs of each data set.

        Raises:
            FeatureError: channels differ; names them.
        """
        for data in self.sets.values():
            data.setup(stage)
        channels = {
            task: (data.visual_channels, data.audio_channels) for task, data in self.sets.items()
        }
        if len(set(channels.values())) > 1:
            shown = ", ".join(f"{task} {v} + {a}" for task, (v, a) in channels.items())
            raise FeatureError(
                f"the tasks' features must have the same visual and audio channels, got {shown}"
            )

    # -- loaders and state --------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of all tasks in turn."""
        loaders = {task: data.train_dataloader() for task, data in self.sets.items()}
        samplers = {task: loader.sampler for task, loader in loaders.items()}
        first = self._first
        return ResumableLoader(
            TaskDataset({task: data.dataset("train") for task, data in self.sets.items()}),
            batch_size=None,
            sampler=TaskSampler(samplers, self.turns),  # type: ignore[arg-type]
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=first.pin_memory,
            generator=torch.Generator().manual_seed(first.seed),
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The validation videos of each task."""
        return [data.val_dataloader() for data in self.sets.values()]

    def state_dict(self) -> dict[str, Any]:
        """How far each task is; kept in checkpoints."""
        return self.turns.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self.turns.load_state_dict(state_dict)
