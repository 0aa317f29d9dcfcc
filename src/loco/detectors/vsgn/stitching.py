"""Videos in rows of a fixed length; a short one stands beside a magnified copy of itself (VSS).

    stitched    | the video, n frames | gap | the video, stretched to what is left |
    others      | the video, n frames | nothing                                    |

A frame is a place in a row, a step one of the video's grid. One affine map a part takes steps to
frames, features and events alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.errors import check_number
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class Layout:
    """How steps of videos lie in R rows of L frames.

    Args:
        video: (R,) long, index in the batch.
        first: (R,) the first step of a row, whole numbers.
        steps: (R,) long, how many steps of the video it holds.
        frames: (R,) long, n, frames of the part on the left.
        scale: (R,) frames a step there; 1 but for videos longer than a row.
        stitched: (R,) bool, whether there is a part on the right.
        magnified: (R,) frames a step there.
        cut: (R,) bool, whether the row is a clip of its video.
        length: L.
        gap: frames between the parts.
    """

    video: Tensor
    first: Tensor
    steps: Tensor
    frames: Tensor
    scale: Tensor
    stitched: Tensor
    magnified: Tensor
    cut: Tensor
    length: int
    gap: int

    @property
    def right(self) -> Tensor:
        """(R,) the frame at which the part on the right begins; L where there is none."""
        return torch.where(self.stitched, self.frames + self.gap, self.length)

    def real(self) -> Tensor:
        """(R, L), True at frames that show something: neither gap nor behind the end."""
        frame = torch.arange(self.length, device=self.video.device)
        return (frame < self.frames.unsqueeze(1)) | (frame >= self.right.unsqueeze(1))

    def source(self) -> Tensor:
        """(R, L) the (fractional) step of its video that a frame shows."""
        frame = torch.arange(self.length, device=self.video.device, dtype=self.scale.dtype)
        right = self.right.unsqueeze(1)
        shown = torch.where(
            frame < right,
            frame / self.scale.unsqueeze(1),
            (frame - right) / self.magnified[:, None],
        )
        last = self.steps.unsqueeze(1) - 1
        return shown.minimum(last) + self.first.unsqueeze(1)

    def fill(self, x: Tensor) -> Tensor:
        """Features (B, T, C) in their rows, (R, L, C), by linear interpolation; else 0."""
        source = self.source()
        low = source.floor()
        high = (low + 1).minimum((self.first + self.steps - 1).unsqueeze(1))
        video = self.video.unsqueeze(1)
        rows = x[video, low.long()]
        share = (source - low).to(x.dtype).unsqueeze(2)
        rows = rows + share * (x[video, high.long()] - rows)
        return torch.where(self.real().unsqueeze(2), rows, 0)

    def to_frames(self, segment_steps: Tensor, row: Tensor, right: bool) -> Tensor:
        """Segments (N, 2) of the rows (N,) in steps, as frames of the part on the left or right."""
        inside = segment_steps - self.first[row].unsqueeze(1)
        if right:
            return inside * self.magnified[row].unsqueeze(1) + self.right[row].unsqueeze(1)
        return inside * self.scale[row].unsqueeze(1)

    def to_steps(self, boxes: Tensor) -> Tensor:
        """Boxes (R, P, 2) in frames as steps; those that begin behind the left part are right."""
        row = (slice(None), None, None)
        left = boxes / self.scale[row]
        right = (boxes - self.right[row]) / self.magnified[row]
        on_the_right = self.stitched[row] & (boxes[..., :1] >= self.frames[row])
        return torch.where(on_the_right, right, left) + self.first[row]

    def join(self, other: Layout) -> Layout:
        """The rows of both."""
        names = ("video", "first", "steps", "frames", "scale", "stitched", "magnified", "cut")
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        return Layout(**both, length=self.length, gap=self.gap)


@dataclass(frozen=True)
class Targets:
    """The events of R rows in frames, E places a row.

    Args:
        boxes: (R, E, 2) starts and ends; not limited to the row.
        labels: (R, E) long.
        real: (R, E), True where there is an event.
    """

    boxes: Tensor
    labels: Tensor
    real: Tensor


@dataclass(frozen=True)
class SelfStitch:
    """Which videos are stitched, and which clips of long ones are stitched besides.

    Args:
        short: a video up to this part of a row is stitched; 0 for none.
        clip: in training, a longer one with an event up to this part of a row also gives a clip of
            at most that length around one, which is stitched; 0 for none.
        gap: frames between the parts.
        in_detection: whether short videos are stitched outside training, too.
    """

    short: float = 0.4
    clip: float = 0.38
    gap: int = 6
    in_detection: bool = True

    def __post_init__(self) -> None:
        check_number("short", self.short, 0, 1, without="high")
        check_number("clip", self.clip, 0)
        if self.clip > self.short:
            raise ValueError(f"clip must not be over short, got {self.clip} and {self.short}")
        check_number("gap", self.gap, 0, whole=True)

    def whole(self, counts: Tensor, length: int, training: bool) -> Layout:
        """Each video in a row of its own, in its own time or, longer than a row, squeezed into it.

        Args:
            counts: (B,) real steps of the videos.
            length: L.
            training: whether it is for training.
        """
        counts = counts.clamp(min=1)
        stitched = (counts <= self.short * length) & (training or self.in_detection)
        return self._layout(
            torch.arange(len(counts), device=counts.device), torch.zeros_like(counts), counts,
            stitched, torch.zeros_like(stitched), length,
        )  # fmt: skip

    def clips(
        self, events: Sequence[Events], grid: TimeGrid, counts: Tensor, length: int
    ) -> Layout:
        """One clip of each long video that has a short event, drawn with torch's generator.

        It begins before the event, but not before one that ends earlier; it ends before one that
        begins later and does not fit.
        """
        size = math.floor(self.clip * length)
        drawn = []
        for video, (of_video, count) in enumerate(zip(events, counts.tolist(), strict=True)):
            steps = grid.to_steps(of_video.segments).clamp(0, count - 1)
            fits = (steps[:, 1].ceil() - steps[:, 0].floor() < size).nonzero().squeeze(1)
            if count <= self.short * length or not len(fits) or not size:
                continue
            chosen = fits[torch.randint(len(fits), ())]
            start, end = steps[chosen].tolist()
            earlier = [s for s in steps[:, 1].tolist() if s <= start]
            lowest = max(math.ceil(end) + 1 - size, *map(math.ceil, earlier), 0)
            highest = max(math.floor(start), lowest)
            first = int(torch.randint(lowest, highest + 1, ()))
            behind = min(first + size, count)
            for s, e in sorted(steps.tolist(), reverse=True):
                if s >= end and e > behind - 1:
                    behind = min(behind, max(math.ceil(s), math.ceil(end) + 1))
            drawn.append((video, first, max(behind - first, 1)))
        rows = torch.tensor(drawn, dtype=torch.long, device=counts.device).reshape(-1, 3)
        every = torch.ones(len(rows), dtype=torch.bool, device=counts.device)
        return self._layout(rows[:, 0], rows[:, 1], rows[:, 2], every, every, length)

    def _layout(
        self, video: Tensor, first: Tensor, steps: Tensor, stitched: Tensor, cut: Tensor,
        length: int,
    ) -> Layout:  # fmt: skip
        frames = steps.clamp(max=length)
        scale = (frames - 1).double() / (steps - 1).clamp(min=1)
        scale = torch.where(steps > 1, scale, 1).float()
        rest = length - frames - self.gap
        magnified = torch.where(steps > 1, (rest - 1).double() / (steps - 1).clamp(min=1), rest)
        magnified = torch.where(stitched, magnified, 1).float()
        return Layout(
            video, first, steps, frames, scale, stitched, magnified, cut, length, self.gap
        )


def make_targets(layout: Layout, events: Sequence[Events], grid: TimeGrid) -> Targets:
    """The events of each row: those of its video, twice where it is stitched.

    Of a clip they are those that lie in it by half at least, cut at its ends. A magnified event
    that begins before the video's first step begins in the gap.
    """
    device = layout.video.device
    sizes = torch.tensor([len(of_video) for of_video in events], device=device)[layout.video]
    row = torch.arange(len(sizes), device=device).repeat_interleave(sizes)
    steps = [grid.to_steps(of_video.segments).float().to(device) for of_video in events]
    label = [of_video.labels.to(device) for of_video in events]
    segment = torch.cat([steps[video] for video in layout.video.tolist()])
    labels = torch.cat([label[video] for video in layout.video.tolist()])

    first = layout.first[row].float()
    last = first + layout.steps[row] - 1
    seen = torch.stack([segment[:, 0].maximum(first), segment[:, 1].minimum(last)], dim=1)
    length, shown = segment[:, 1] - segment[:, 0], seen[:, 1] - seen[:, 0]
    kept = ~layout.cut[row] | ((shown > 0) & (2 * shown >= length))
    segment = torch.where(layout.cut[row].unsqueeze(1), seen, segment)
    segment, labels, row = segment[kept], labels[kept], row[kept]

    twice = layout.stitched[row]
    right = layout.to_frames(segment[twice], row[twice], right=True)
    right = right.maximum(layout.frames[row[twice]].unsqueeze(1))
    boxes = torch.cat([layout.to_frames(segment, row, right=False), right])
    labels, row = torch.cat([labels, labels[twice]]), torch.cat([row, row[twice]])

    counts = torch.bincount(row, minlength=len(sizes))
    most = max(int(counts.max()), 1)
    order = torch.argsort(row, stable=True)
    place = torch.arange(len(row), device=device) - (counts.cumsum(0) - counts)[row[order]]
    padded = boxes.new_zeros(len(sizes), most, 2)
    padded[row[order], place] = boxes[order]
    named = labels.new_zeros(len(sizes), most)
    named[row[order], place] = labels[order]
    real = torch.arange(most, device=device) < counts.unsqueeze(1)
    return Targets(padded, named, real)
