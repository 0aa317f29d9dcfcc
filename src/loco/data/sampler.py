"""Batches of videos of similar length, so that little is computed on padding, and their loader."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from loco.data.dataset import Key
from loco.errors import check_number
from loco.structures import Batch


class LengthBatchSampler(Sampler[list[Key]]):
    """Yields batches as lists of (epoch, index), a function of (seed, epoch) and nothing else.

    The videos are shuffled, cut into pools of some batches, sorted by length within a pool, cut
    into batches, and the batches shuffled. It goes to a `DataLoader` as the `sampler`, with
    `batch_size=None` and a data set that takes a list of keys; there Lightning finds `set_epoch`.

    With several processes each global batch is cut into equal parts, so that at every step all
    ranks hold as many videos, of similar length. What does not fill up a batch:

    - training drops it, other videos in each epoch; if there are fewer videos than one global
      batch holds, the batch shrinks (and repeats videos if there are fewer than ranks).
    - evaluation keeps it, as a smaller last batch, and repeats up to `num_replicas` − 1 videos to
      give the ranks equal counts. Its order is the same in every epoch, and shuffled too, that
      the first few batches are a fair sample.

    Args:
        lengths: gives the (videos,) steps of all videos in an epoch, e.g. `dataset.crop_lengths`.
        batch_size: videos in a batch of one process.
        training: shuffle anew in each epoch, and drop the rest.
        seed: start of the shuffling, ≥ 0.
        num_replicas: processes.
        rank: which of them this is.
        pool_batches: global batches in a pool; more waste less and shuffle less. A pool is never
            more than a quarter of the videos (or one batch, if that is more): else the same videos
            would share a batch in epoch after epoch.

    Raises:
        ValueError: a setting is out of its range, or there is no video.
    """

    def __init__(
        self,
        lengths: Callable[[int], np.ndarray],
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        pool_batches: int = 32,
    ) -> None:
        check_number("batch_size", batch_size, 1, whole=True)
        check_number("pool_batches", pool_batches, 1, whole=True)
        check_number("num_replicas", num_replicas, 1, whole=True)
        check_number("rank", rank, 0, num_replicas, whole=True, without="high")
        check_number("seed", seed, 0, whole=True)
        self.lengths = lengths
        self.count = len(lengths(0))
        if self.count == 0:
            raise ValueError("there is no video to sample from")
        if training:
            batch_size = min(batch_size, max(1, self.count // num_replicas))
        self.global_batch = batch_size * num_replicas
        self.training = training
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.pool_batches = min(pool_batches, max(1, self.count // (4 * self.global_batch)))
        self.epoch = 0
        self.first_batch = 0  # where the next iteration begins

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that is iterated over next; evaluation stays as it is."""
        if self.training:
            self.epoch = epoch

    @property
    def _shuffled(self) -> int:
        """The epoch whose order and crops are drawn."""
        return self.epoch

    def __len__(self) -> int:
        """Batches in an epoch, the same on all ranks and in all epochs."""
        if self.training:
            return max(1, self.count // self.global_batch)
        return -(-self.count // self.global_batch)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self._shuffled
        random = np.random.default_rng((self.seed, epoch))
        lengths = self.lengths(epoch)
        order = self._evened_out(random.permutation(self.count))
        pool = self.global_batch * self.pool_batches
        batches = []
        for first in range(0, len(order), pool):
            members = order[first : first + pool]
            # longest first: what is left over at the end is a batch of short ones
            members = members[np.argsort(-lengths[members], kind="stable")]
            batches += [
                members[i : i + self.global_batch]
                for i in range(0, len(members), self.global_batch)
            ]
        for i in islice(random.permutation(len(batches)), self.first_batch, None):
            yield [(epoch, int(index)) for index in batches[i][self.rank :: self.num_replicas]]

    def _evened_out(self, order: np.ndarray) -> np.ndarray:
        """Drops or repeats videos, so that every batch has equal parts for all ranks."""
        if self.training:
            return np.resize(order, len(self) * self.global_batch)
        return np.resize(order, -(-self.count // self.num_replicas) * self.num_replicas)


class RepeatedBatchSampler(LengthBatchSampler, SequentialSampler):  # type: ignore[misc]
    """The same batches in every epoch, as `overfit_batches` of Lightning wants them.

    It is a `SequentialSampler` by name, as Lightning puts one of its own in place of any other.
    """

    @property
    def _shuffled(self) -> int:
        return 0


class ResumableLoader(DataLoader[Batch]):
    """A `DataLoader` over a `LengthBatchSampler` that a checkpoint can resume within an epoch.

    Lightning keeps `state_dict()` in its checkpoints. A run that resumes from the middle of an
    epoch goes on with the batches that are left of it, not with the first ones again.
    """

    sampler: LengthBatchSampler
    _given: tuple[int, int] = (0, 0)  # epoch, and batches of it that were given out
    _resumed: tuple[int, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given out."""
        epoch, batches = self._given
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Leaves out, when it is iterated next, what was given out; not so in another epoch."""
        self._resumed = state["epoch"], state["batches"]

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        epoch, batches = self._resumed or (-1, 0)
        self._resumed = None
        self.sampler.first_batch = batches if epoch == self.sampler.epoch else 0
        self._given = self.sampler.epoch, self.sampler.first_batch
        for batch in super().__iter__():
            self._given = self._given[0], self._given[1] + 1
            yield batch


GRACE_SECONDS = 20


def leave_signals_to_parent(worker: int) -> None:
    """Keep a loader's process reading when a terminal or a cluster signals all processes at once.

    The training ends its batch, and its loaders with it; a batch that is lost to a signal would be
    an error in the middle of a step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
