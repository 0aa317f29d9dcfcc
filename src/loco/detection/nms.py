"""Non-maximum suppression in one dimension, for many classes and many videos at once.

Both kinds are greedy within a class: the best remaining candidate is kept and weakens (soft) or
removes (hard) those that overlap it. Classes and videos do not interact until the cap, so every
(video, class) pair is a row of one padded table and all rows advance together, one pick each at a
time. Picks of a row come in descending order, so a row is finished as soon as its best remaining
score cannot enter its video's best `max_segments` any more. The tables are small and the steps
many, so the work is done in NumPy on the host, wherever the tensors lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from loco.errors import check_number

Array = np.ndarray

_WINDOW = 4
"""Candidates looked at first, for each detection asked for; so many times more in each wave."""

_CHECK_EVERY = 4
"""Picks of a row between two looks at which rows are still needed."""

_PAIRS = 1 << 16
"""Largest table of pairwise factors that is made in advance."""

_Weaken = Callable[[Array], Array]
"""From the IoU with the pick, which it may overwrite, to the factor of the scores."""


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    sigma: float = 0.4,
    min_score: float = 0.001,
    max_segments: int | None = 100,
    video: Tensor | None = None,
    class_aware: bool = True,
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
        class_aware: whether a pick weakens those of its own class alone, or those of all classes.

    Returns:
        segments (M, 2), weakened scores (M,), labels (M,), and video (M,) if `video` was given. By
        ascending video, then descending score; equal scores by start, end, label.

    Raises:
        ValueError: shapes do not fit, a score is NaN, or a setting is out of range.

    Source: Bodla et al. 2017, "Soft-NMS", Eq. 3; σ and the limits as UnAV has them.
    """
    check_number("sigma", sigma, 0, without="low")

    def weaken(iou: Array) -> Array:
        np.multiply(iou, iou, out=iou)
        iou *= -1 / sigma
        return np.exp(iou, out=iou)

    return _nms(segments, scores, labels, weaken, min_score, max_segments, video, class_aware)


def hard_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float,
    min_score: float = 0.001,
    max_segments: int | None = 100,
    video: Tensor | None = None,
    class_aware: bool = True,
) -> tuple[Tensor, ...]:
    """NMS within each class: a pick removes the others whose IoU with it reaches `iou_threshold`.

    Arguments, result and errors are `soft_nms`'s; scores come back as they were.
    """
    check_number("iou_threshold", iou_threshold, 0, 1)

    def weaken(iou: Array) -> Array:
        return (iou < iou_threshold).astype(iou.dtype)

    return _nms(segments, scores, labels, weaken, min_score, max_segments, video, class_aware)


class _Candidates(NamedTuple):
    """Candidates with their present scores; `group` tells (video, class) pairs apart."""

    starts: Array
    ends: Array
    scores: Array
    group: Array
    video: Array
    place: Array

    def take(self, index: Array | slice) -> _Candidates:
        return _Candidates(*(field[index] for field in self))

    def join(self, others: _Candidates) -> _Candidates:
        return _Candidates(*map(np.concatenate, zip(self, others, strict=True)))


def _nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    weaken: _Weaken,
    min_score: float,
    max_segments: int | None,
    video: Tensor | None,
    class_aware: bool,
) -> tuple[Tensor, ...]:
    """Greedy NMS in waves: first among each video's best candidates, then more where need be.

    A candidate can only touch picks below its own score. So all picks above the best score that is
    not yet looked at are final, and with `max_segments` of them a video is done.
    """
    _check(segments, scores, labels, video, min_score, max_segments)
    dtype = torch.promote_types(torch.promote_types(segments.dtype, scores.dtype), torch.float32)
    starts, ends = segments.detach().to("cpu", dtype).numpy().T
    present = scores.detach().to("cpu", dtype).numpy()
    if not (np.isfinite(starts).all() and np.isfinite(ends).all() and np.isfinite(present).all()):
        raise ValueError("segments and scores must be finite")
    label = labels.cpu().numpy() if class_aware else np.zeros(len(labels), dtype=np.int64)
    owner = np.zeros_like(label) if video is None else video.cpu().numpy()

    least = max(min_score, float(np.finfo(present.dtype).tiny))  # 0 is out of the running
    index = np.flatnonzero(present >= least)
    index = index[np.argsort(-present[index])]
    if video is not None:
        index = index[_stable_order(owner[index])]
    place, dense, counts = _place(owner[index])
    first = counts.cumsum() - counts
    group = dense * (label.max(initial=0) - label.min(initial=0) + 1) + label[index]
    queue = _Candidates(starts[index], ends[index], present[index], group, dense, place)

    picks = pool = queue.take(slice(0))
    pending = np.ones(len(counts), dtype=bool)
    begin, end = 0, len(index) if max_segments is None else _WINDOW * max_segments
    while pending.any():
        entering = (place >= begin) & (place < end) & pending[dense]
        pool = pool.take(pending[pool.video])
        pool = pool.join(_weakened(queue.take(entering), picks, weaken))
        floor = np.full(len(counts), least, dtype=present.dtype)
        cut = counts > end
        floor[cut] = np.nextafter(queue.scores[(first + end)[cut]], np.inf, dtype=floor.dtype)
        picks, pool = _greedy(picks, pool, weaken, floor, max_segments)
        if max_segments is not None:
            cut &= np.bincount(picks.video, minlength=len(counts)) < max_segments
        pending &= cut
        begin, end = end, max(2, _WINDOW) * end

    index = index[first[picks.video] + picks.place]
    order = np.lexsort((label[index], ends[index], starts[index], -picks.scores, picks.video))
    if max_segments is not None:
        order = order[_place(picks.video[order])[0] < max_segments]
    kept = torch.from_numpy(index[order]).to(labels.device)
    weakened = torch.from_numpy(picks.scores[order]).to(scores)
    result = (segments[kept], weakened, labels[kept])
    return result if video is None else (*result, video[kept])


def _weakened(candidates: _Candidates, picks: _Candidates, weaken: _Weaken) -> _Candidates:
    """Candidates as the earlier picks of their groups leave them."""
    if len(picks.group) == 0 or len(candidates.group) == 0:
        return candidates
    picks = picks.take(np.argsort(picks.group, kind="stable"))
    begin = np.searchsorted(picks.group, candidates.group)
    count = np.searchsorted(picks.group, candidates.group, side="right") - begin
    nth = np.arange(count.max())[:, None]
    chosen = np.minimum(begin + nth, len(picks.group) - 1)
    factors = weaken(
        _iou(candidates.starts, candidates.ends, picks.starts[chosen], picks.ends[chosen])
    )
    factors = np.where(nth < count, factors, factors.dtype.type(1))
    return candidates._replace(scores=candidates.scores * factors.prod(0))


def _greedy(
    picks: _Candidates,
    pool: _Candidates,
    weaken: _Weaken,
    floor: Array,
    max_segments: int | None,
) -> tuple[_Candidates, _Candidates]:
    """Pick from the pool what scores at least its video's floor.

    Args:
        picks: those of earlier waves.
        pool: candidates in any order.
        weaken: what a pick does to the others of its group.
        floor: (B,) score of each video below which nothing may be picked yet.
        max_segments: the cap; picks that would not get past it may be left out.

    Returns:
        All picks so far, with the scores they were picked at; what remains of the pool, weakened.
    """
    # Ties go to the first of a row, so rows are laid out by start and end.
    pool = pool.take(np.lexsort((pool.ends, pool.starts, pool.group)))
    column, row, sizes = _place(pool.group)
    shape = (len(sizes), sizes.max(initial=0))
    table, starts, ends = np.zeros((3, *shape), dtype=pool.scores.dtype)
    table[row, column], starts[row, column], ends[row, column] = pool.scores, pool.starts, pool.ends
    rows = _Rows(starts, ends, weaken)
    first = sizes.cumsum() - sizes
    number, scores, owner = np.arange(len(sizes)), table.copy(), pool.video[first]
    line, row_floor = number, floor[owner]
    found_scores, found_video, found = [picks.scores], [picks.video], [row[:0]]
    for step in range(shape[1]):
        if step % _CHECK_EVERY == 1:
            floor = _raise_floor(floor, found_scores, found_video, max_segments)
            row_floor = floor[owner]
        at = scores.argmax(1)
        best = scores[line, at]
        live = best >= row_floor
        if not live.all():
            table[number] = scores
            number, owner, row_floor = number[live], owner[live], row_floor[live]
            scores, best, at = scores[live], best[live], at[live]
            line = line[: len(number)]
            rows.keep(live)
            if len(number) == 0:
                break
        found_scores.append(best)
        found_video.append(owner)
        found.append(first[number] + at)
        scores *= rows.factors(line, at)
    table[number] = scores
    chosen = pool.take(np.concatenate(found))
    chosen = chosen._replace(scores=np.concatenate([pool.scores[:0], *found_scores[1:]]))
    pool = pool._replace(scores=table[row, column])
    return picks.join(chosen), pool.take(pool.scores > 0)


class _Rows:
    """What picks do to their rows, while the rows become fewer.

    A pick's own factor is 0, which takes it out of the running. Where the table of all pairs is
    small it is made at once and a pick is a look-up; else a row is worked out when asked for.
    `starts` and `ends` are (R, n).
    """

    def __init__(self, starts: Array, ends: Array, weaken: _Weaken) -> None:
        self.starts, self.ends, self.weaken = starts, ends, weaken
        self.number = np.arange(len(starts))
        self.pairs: Array | None = None
        if starts.size * starts.shape[1] <= _PAIRS:
            self.pairs = weaken(
                _iou(starts[:, None], ends[:, None], starts[..., None], ends[..., None])
            )
            diagonal = np.arange(starts.shape[1])
            self.pairs[:, diagonal, diagonal] = 0

    def keep(self, live: Array) -> None:
        """Drop the rows where `live` (R,) is False."""
        self.number = self.number[live]
        if self.pairs is None:
            self.starts, self.ends = self.starts[live], self.ends[live]

    def factors(self, line: Array, at: Array) -> Array:
        """(R, n) for the picked columns (R,); `line` counts the rows that are left."""
        if self.pairs is not None:
            return self.pairs[self.number, at]
        start, end = self.starts[line, at, None], self.ends[line, at, None]
        factors = self.weaken(_iou(self.starts, self.ends, start, end))
        factors[line, at] = 0
        return factors


def _iou(starts: Array, ends: Array, other_starts: Array, other_ends: Array) -> Array:
    """IoU, broadcast; 0 for segments without length, also with themselves."""
    overlap = np.minimum(ends, other_ends)
    overlap -= np.maximum(starts, other_starts)
    np.maximum(overlap, 0, out=overlap)
    union = (ends - starts) + (other_ends - other_starts)
    union -= overlap
    np.maximum(union, np.finfo(union.dtype).tiny, out=union)
    overlap /= union
    return overlap


def _raise_floor(
    floor: Array, scores: list[Array], video: list[Array], max_segments: int | None
) -> Array:
    """The floor raised to the `max_segments`-th best pick of each video, where there are as many.

    Further picks do not change these, and a weaker one cannot push any of them out.
    """
    if max_segments is None or sum(map(len, scores)) < max_segments:
        return floor
    score, owner = np.concatenate(scores), np.concatenate(video)
    order = np.lexsort((-score, owner))
    score, owner = score[order], owner[order]
    last = _place(owner)[0] == max_segments - 1
    raised = floor.copy()
    raised[owner[last]] = np.maximum(score[last], floor[owner[last]])
    return raised


def _stable_order(ids: Array) -> Array:
    if len(ids) and ids.min() >= 0 and ids.max() < np.iinfo(np.int16).max:
        ids = ids.astype(np.int16)  # sorted by radix, in linear time
    return np.argsort(ids, kind="stable")


def _place(group: Array) -> tuple[Array, Array, Array]:
    """For sorted groups: each element's place in its own, the group counted from 0, and sizes."""
    new = np.ones(len(group), dtype=bool)
    np.not_equal(group[1:], group[:-1], out=new[1:])
    first = np.flatnonzero(new)
    dense = np.cumsum(new) - 1
    return np.arange(len(group)) - first[dense], dense, np.diff(first, append=len(group))


def _check(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    video: Tensor | None,
    min_score: float,
    max_segments: int | None,
) -> None:
    count = len(labels)
    for name, values, shape in (("segments", segments, (count, 2)), ("scores", scores, (count,))):
        if values.shape != shape or not values.is_floating_point():
            found = f"{values.dtype} {tuple(values.shape)}"
            raise ValueError(f"{name} must be floating point {shape}, got {found}")
    for name, ids in (("labels", labels), ("video", video)):
        if ids is not None and (ids.shape != (count,) or ids.dtype != torch.long):
            found = f"{ids.dtype} {tuple(ids.shape)}"
            raise ValueError(f"{name} must be long ({count},), got {found}")
    check_number("min_score", min_score, 0)
    if max_segments is not None:
        check_number("max_segments", max_segments, 1, whole=True)
