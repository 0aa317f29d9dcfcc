"""Which pairs of steps LCC compares, where the labels of the training videos are made use of.

As the paper has it, every real step is told apart from every other one of the batch. Many of these
should not be: steps of other videos in which the same is heard and seen, and those of the same
video a while later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, distributed

from loco.errors import check_number
from loco.nn.processes import gathered, processes, summed
from loco.structures import Batch

Treatment = Literal["repel", "ignore", "pull"]


class Chosen(NamedTuple):
    """The pairs of a batch; N real steps of this process, M ≥ N of all processes.

    Attributes:
        share: (B, T, T) what is left of the target y: 0 in rows that are not compared and at steps
            that are left out, 1 − β in rows that others are pulled nearer to, else 1.
        kept: (N, M) bool, what is in the partition of each row.
        pulled: (N, M) the targets of what is pulled nearer to each row, of sum β, or 0; None where
            nothing is.
        num_rows: rows to average over, so many that the mean over processes is that over all rows.
    """

    share: Tensor
    kept: Tensor
    pulled: Tensor | None
    num_rows: Tensor

    def compare(self, similarity: Tensor, *, entropy: bool) -> tuple[Tensor, Tensor]:
        """What is left of the comparison of rows with columns, s_ik / τ, (N, M).

        Returns:
            log Σ_k exp(s_ik / τ) over what is kept, (N,); and −Σ_ik y_ik log p_ik of what is
            pulled, a scalar, with the entropy paid back where a divergence wants that.
        """
        partition = similarity.masked_fill(~self.kept, float("-inf")).logsumexp(1)
        if self.pulled is None:
            return partition, partition.new_zeros(())
        pulled = self.pulled
        loss = -(pulled * (similarity - partition.unsqueeze(1))).sum()
        if entropy:
            loss = loss + torch.special.xlogy(pulled, pulled).sum()
        return partition, loss


@dataclass(frozen=True)
class PairRule:
    """Chooses rows and columns of the comparison by the events of the videos.

    Two steps are of a class where each lies inside an event of it, its ends included. A row always
    keeps what its target calls near, y_ij ≥ `near` · y_ii.

    Args:
        rows: whose loss counts: `all` real steps, or those inside `events`.
        same_class: what becomes of the steps of other videos that are of a class with a row:
            `repel` as all others, `ignore` leaves them out of its partition, `pull` makes them
            targets (supervised contrastive, Khosla et al. 2020).
        far: what becomes of a row's own video beyond the near: `repel` or `ignore`.
        near: part of a target's largest value from which a step is near; 0.01 is 3 σ of a Gaussian.
        pull: share β of a row's target that all that is pulled gets together.

    Raises:
        ValueError: a setting out of its range.
    """

    rows: Literal["all", "events"] = "events"
    same_class: Treatment = "ignore"
    far: Literal["repel", "ignore"] = "ignore"
    near: float = 0.01
    pull: float = 0.25

    def __post_init__(self) -> None:
        if self.rows not in ("all", "events"):
            raise ValueError(f"rows must be all or events, got {self.rows!r}")
        if self.same_class not in get_args(Treatment):
            raise ValueError(f"same_class must be repel, ignore or pull, got {self.same_class!r}")
        if self.far not in ("repel", "ignore"):
            raise ValueError(f"far must be repel or ignore, got {self.far!r}")
        check_number("near", self.near, 0, 1)
        check_number("pull", self.pull, 0, 1, without="low high")

    def __call__(self, target: Tensor, batch: Batch, *, local: bool = False) -> Chosen:
        """The pairs of a batch.

        Args:
            target: (B, T, T) y, within videos.
            batch: its mask and events.
            local: whether other processes' steps are left out.
        """
        mask = batch.mask
        largest = max((int(e.labels.max()) for e in batch.events if len(e)), default=0)
        steps = mask.sum()
        of_all = torch.stack([steps, mask.new_full((), largest, dtype=torch.long)]).unsqueeze(0)
        together = not local and processes() > 1
        of_all = gathered(of_all.float()).long() if together else of_all
        active = class_activity(batch, int(of_all[:, 1].max()) + 1)
        rows = mask & active.any(2) if self.rows == "events" else mask
        own = active[mask].float()  # (N, K)
        everyone = gathered(own) if together else own
        first = int(of_all[: distributed.get_rank(), 0].sum()) if together else 0

        same = (own @ everyone.T) > 0  # (N, M)
        kept = torch.ones_like(same)
        largest_y = target.detach().diagonal(dim1=1, dim2=2).unsqueeze(2)
        near = target.detach() >= self.near * largest_y
        at = 0
        for of_video, real in zip(near, mask, strict=True):
            length = int(real.sum())
            here = slice(at, at + length), slice(first + at, first + at + length)
            same[here] = False
            if self.far == "ignore":
                kept[here] = of_video[real][:, real]
            at += length
        share = rows.unsqueeze(2) * (near if self.far == "ignore" else torch.ones_like(near))
        share, pulled = share.to(target.dtype), None
        if self.same_class == "ignore":
            kept &= ~same
        elif self.same_class == "pull":
            pulled = self.pull * same / same.sum(1, keepdim=True).clamp(min=1)
            pulled = pulled * rows[mask].unsqueeze(1)
            given = share.new_zeros(mask.shape)
            given[mask] = pulled.sum(1).to(share.dtype)
            share = share * (1 - given).unsqueeze(2)
        count = rows.sum().to(target.dtype)
        if together:
            count = summed(count)
        count = count.clamp(min=1) / (processes() if together else 1)
        return Chosen(share, kept, pulled, count)


def class_activity(batch: Batch, num_classes: int) -> Tensor:
    """(B, T, K) bool: whether a step's time lies inside an event of a class, its ends included."""
    mask = batch.mask
    active = torch.zeros(*mask.shape, num_classes, dtype=torch.bool, device=mask.device)
    step = torch.arange(mask.shape[1], device=mask.device)
    for b, events in enumerate(batch.events):
        segments = batch.grid.to_steps(events.segments).to(mask.device)
        for (start, end), label in zip(segments, events.labels.tolist(), strict=True):
            active[b, :, label] |= (start <= step) & (step <= end)
    return active & mask.unsqueeze(2)
