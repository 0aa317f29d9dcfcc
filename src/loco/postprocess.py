"""Non-maximum suppression in one dimension, for many classes and many videos at once.

Both kinds are greedy within a class: the best remaining candidate is kept and weakens (soft) or
removes (hard) those that overlap it. Classes and videos do not interact until the cap, so every
(video, class) pair is a row of one padded table and all rows advance together, one pick each at a
time. Picks of a row come in descending order, so a row is finished as soon as its best remaining
score cannot enter its video's best `max_segments` any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_WINDOW = 4
"""Candidates looked at first, for each detection asked for; as many times more in each new try."""

_CHECK_EVERY = 4
"""Picks of a row between two looks at which rows are still needed."""

_PAIRS = 1 << 20
"""Largest table of pairwise factors that is made in advance."""

_Weaken = Callable[[Tensor], Tensor]
"""From the IoU with the pick, which it may overwrite, to the factor of the scores."""


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    sigma: float = 0.4,
    min_score: float = 0.001,
    max_segments: int | None = 100,
    video: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gaussian soft-NMS within each class: a pick scales the others' scores by exp(−IoU² / σ).

    Args:
        segments: (N, 2) starts and ends, in any one unit.
        scores: (N,) floating point.
        labels: (N,) long class ids.
        sigma: σ, the smaller the harsher.
        min_score: candidates whose score is or falls below this are dropped.
        max_segments: detections kept of a video, None for all.
        video: (N,) long, the video of each candidate; None if there is one video only.

    Returns:
        segments (M, 2), weakened scores (M,), labels (M,), and video (M,) if `video` was given. By
        ascending video, then descending score; equal scores by start, end, label.

    Raises:
        ValueError: shapes do not fit, a score is NaN, or a setting is out of range.

    Source: Bodla et al. 2017, "Soft-NMS", Eq. 3; σ and the limits as UnAV has them.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")

    def weaken(iou: Tensor) -> Tensor:
        return iou.square_().mul_(-1 / sigma).exp_()

    return _nms(segments, scores, labels, weaken, min_score, max_segments, video)


def hard_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float,
    min_score: float = 0.001,
    max_segments: int | None = 100,
    video: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """NMS within each class: a pick removes the others whose IoU with it reaches `iou_threshold`.

    Arguments, result and errors are `soft_nms`'s; scores come back as they were.
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must lie in [0, 1], got {iou_threshold}")

    def weaken(iou: Tensor) -> Tensor:
        return iou.lt_(iou_threshold)

    return _nms(segments, scores, labels, weaken, min_score, max_segments, video)


class _Candidates(NamedTuple):
    """Candidates that are still in the running; `index` is their place in the caller's order."""

    segments: Tensor
    scores: Tensor
    labels: Tensor
    video: Tensor
    index: Tensor

    def take(self, index: Tensor | slice) -> _Candidates:
        return _Candidates(*(field[index] for field in self))


@torch.no_grad()
def _nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    weaken: _Weaken,
    min_score: float,
    max_segments: int | None,
    video: Tensor | None,
) -> tuple[Tensor, ...]:
    """Greedy NMS, first among each video's best candidates, then among more where it must be.

    A candidate can only touch picks below its own score. So if, among a video's best W candidates,
    `max_segments` picks end up above the best score left out, no other candidate has a say.
    """
    _check(segments, scores, labels, video, min_score, max_segments)
    dtype = torch.promote_types(torch.promote_types(segments.dtype, scores.dtype), torch.float32)
    candidates = _Candidates(
        segments.to(dtype),
        scores.to(dtype),
        labels,
        torch.zeros_like(labels) if video is None else video,
        torch.arange(len(labels), device=labels.device),
    )
    candidates = candidates.take((candidates.scores >= min_score) & (candidates.scores > 0))
    candidates = candidates.take(_lexsort(candidates.video, -candidates.scores))
    place, dense_video, counts = _place(candidates.video)
    candidates = candidates._replace(video=dense_video)
    first = counts.cumsum(0) - counts

    pending = torch.ones_like(counts, dtype=torch.bool)
    window = len(labels) if max_segments is None else _WINDOW * max_segments
    found = [candidates.take(slice(0, 0))]
    while pending.any():
        floor = torch.full(counts.shape, min_score, dtype=dtype, device=labels.device)
        cut = counts > window
        left_out = candidates.scores[(first + window)[cut]]
        floor[cut] = torch.nextafter(left_out, torch.full_like(left_out, torch.inf))
        entered = candidates.take((place < window) & pending[dense_video])
        picks = _greedy(entered, weaken, floor, max_segments)
        enough = torch.bincount(picks.video, minlength=len(counts)) >= (max_segments or torch.inf)
        done = pending & (enough | ~cut)
        found.append(picks.take(done[picks.video]))
        pending &= ~done
        window *= _WINDOW

    kept = _Candidates(*map(torch.cat, zip(*found, strict=True)))
    start, end = kept.segments.unbind(1)
    kept = kept.take(_lexsort(kept.video, -kept.scores, start, end, kept.labels))
    if max_segments is not None:
        kept = kept.take(_place(kept.video)[0] < max_segments)
    index = kept.index
    result = (segments[index], kept.scores.to(scores.dtype), labels[index])
    return result if video is None else (*result, video[index])


def _greedy(
    candidates: _Candidates, weaken: _Weaken, floor: Tensor, max_segments: int | None
) -> _Candidates:
    """The picks that score at least their video's floor, save some that the cap would drop anyway.

    Args:
        candidates: C of them, in any order.
        weaken: what a pick does to the others of its row.
        floor: (B,) score below which nothing of a video is of use.
        max_segments: the cap of each video, or None.

    Returns:
        The picks with their weakened scores, in no particular order.
    """
    start, end = candidates.segments.unbind(1)
    # Ties go to the first of a row: rows are laid out by start and end.
    candidates = candidates.take(_lexsort(candidates.video, candidates.labels, start, end))
    num_labels = candidates.labels.max() + 1 if len(start) else 1
    column, row, sizes = _place(candidates.video * num_labels + candidates.labels)
    first = sizes.cumsum(0) - sizes
    shape = (len(sizes), int(sizes.max()) if len(sizes) else 0)

    def table(values: Tensor) -> Tensor:
        padded = values.new_zeros((*shape, *values.shape[1:]))
        padded[row, column] = values
        return padded

    scores = table(candidates.scores)
    weaken_by = _pairwise(table(candidates.segments), weaken)
    rows = torch.arange(len(sizes), device=floor.device)
    row_video = candidates.video[first]
    picked_scores, picked_index, picked_video = [], [], []
    for step in range(shape[1]):
        best, at = scores.max(1)
        if step % _CHECK_EVERY == 1:
            floor = _raise_floor(floor, picked_scores, picked_video, max_segments)
            live = (best >= floor[row_video]).nonzero()[:, 0]
            if len(live) == 0:
                break
            if len(live) <= 0.8 * len(rows):
                rows, first, row_video = rows[live], first[live], row_video[live]
                scores, best, at = scores[live], best[live], at[live]
        picked_scores.append(best)
        picked_index.append(first + at)
        picked_video.append(row_video)
        scores.mul_(weaken_by(rows, at))
    if not picked_scores:
        return candidates
    score, index, video = map(torch.cat, (picked_scores, picked_index, picked_video))
    useful = (score >= floor[video]) & (score > 0)
    return candidates.take(index[useful])._replace(scores=score[useful])


def _pairwise(segments: Tensor, weaken: _Weaken) -> Callable[[Tensor, Tensor], Tensor]:
    """What picks do to their rows: (rows (R,), picked columns (R,)) → factors (R, n).

    The pick's own factor is 0, which takes it out of the running. Where the table of all pairs is
    small it is made at once, and a pick is a look-up; else a row is worked out when it is asked for.

    Args:
        segments: (G, n, 2) of all G rows.
        weaken: IoU → factor.
    """
    starts, ends = segments.unbind(2)
    # No shorter than this, so that no union is zero: equal moments overlap by 0, not by 0 / 0.
    lengths = (ends - starts).clamp_min_(torch.finfo(starts.dtype).tiny)

    def factors(rows: Tensor | slice, start: Tensor, end: Tensor, length: Tensor) -> Tensor:
        overlap = torch.minimum(ends[rows, None], end[..., None])
        overlap.sub_(torch.maximum(starts[rows, None], start[..., None])).clamp_min_(0)
        union = (lengths[rows, None] + length[..., None]).sub_(overlap)
        return weaken(overlap.div_(union))

    if starts.numel() * starts.shape[1] <= _PAIRS:
        pairs = factors(slice(None), starts, ends, lengths)  # (G, picked n, n)
        pairs.diagonal(dim1=1, dim2=2).zero_()
        return lambda rows, at: pairs[rows, at]

    def work_out(rows: Tensor, at: Tensor) -> Tensor:
        picked = (field[rows, at, None] for field in (starts, ends, lengths))
        return factors(rows, *picked)[:, 0].scatter_(1, at[:, None], 0)

    return work_out


def _raise_floor(
    floor: Tensor, scores: list[Tensor], video: list[Tensor], max_segments: int | None
) -> Tensor:
    """The floor raised to the `max_segments`-th best pick of each video, where there are as many.

    Further picks do not change these, and a weaker one cannot push any of them out.
    """
    if max_segments is None:
        return floor
    score, owner = torch.cat(scores), torch.cat(video)
    order = _lexsort(owner, -score)
    score, owner = score[order], owner[order]
    last = _place(owner)[0] == max_segments - 1
    raised = floor.clone()
    raised[owner[last]] = torch.maximum(score[last], floor[owner[last]])
    return raised


def _place(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For sorted groups: each element's place in its own, the group counted from 0, and sizes."""
    _, dense, sizes = torch.unique_consecutive(group, return_inverse=True, return_counts=True)
    first = sizes.cumsum(0) - sizes
    return torch.arange(len(group), device=group.device) - first[dense], dense, sizes


def _lexsort(*keys: Tensor) -> Tensor:
    """The order by the first key, ties by the second, and so on; all ascending and stable."""
    order = torch.argsort(keys[-1], stable=True)
    for key in keys[-2::-1]:
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _check(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    video: Tensor | None,
    min_score: float,
    max_segments: int | None,
) -> None:
    count = len(labels)
    if segments.shape != (count, 2) or not segments.is_floating_point():
        raise ValueError(
            f"segments must be floating point ({count}, 2), "
            f"got {segments.dtype} {tuple(segments.shape)}"
        )
    if scores.shape != (count,) or not scores.is_floating_point():
        raise ValueError(
            f"scores must be floating point ({count},), got {scores.dtype} {tuple(scores.shape)}"
        )
    for name, index in (("labels", labels), ("video", video)):
        if index is None:
            continue
        if index.shape != (count,) or index.dtype != torch.long:
            raise ValueError(f"{name} must be long ({count},), got {index.dtype} {index.shape}")
    if not (torch.isfinite(segments).all() and torch.isfinite(scores).all()):
        raise ValueError("segments and scores must be finite")
    if min_score < 0:
        raise ValueError(f"min_score must not be negative, got {min_score}")
    if max_segments is not None and max_segments < 1:
        raise ValueError(f"max_segments must be positive or None, got {max_segments}")
