"""Whose turn it is when several tasks are trained in one net: one batch a task, in rounds.

Stop-and-go (Lu et al., "12-in-1", 2020; UniAV trains so): a task that no longer gets better is
trained in every fourth round only, lest it overfit while others still learn, until it gets worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any

from loco.errors import check_number


@dataclass
class Progress:
    """Of one task.

    Attributes:
        best: highest score so far.
        bad: evaluations since then.
        rest: evaluations that do not count, after a change.
        stopped: whether it is trained in some rounds only.
        batches: that it was trained on in earlier epochs.
    """

    best: float = 0.0
    bad: int = 0
    rest: int = 0
    stopped: bool = False
    batches: int = 0


class Turns:
    """The order of the tasks in an epoch, which always has as many turns.

    The turns that a stopped task leaves go to the others. State changes at the end of an epoch
    alone; within one the order is a function of it, so that a run resumes anywhere.

    Args:
        tasks: names, in the order of a round.
        stop_and_go: whether tasks are stopped at all.
        gain: relative rise of a score over the best one that counts as better.
        fall: relative fall below the best score that lets a stopped task go on.
        patience: evaluations without a better score after which a task is stopped.
        every: rounds of which a stopped task is trained in the first.
        cooldown: evaluations after a change that do not count.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        stop_and_go: bool = True,
        gain: float = 0.001,
        fall: float = 0.005,
        patience: int = 2,
        every: int = 4,
        cooldown: int = 1,
    ) -> None:
        check_number("gain", gain, 0)
        check_number("fall", fall, 0)
        check_number("patience", patience, 1, whole=True)
        check_number("every", every, 1, whole=True)
        check_number("cooldown", cooldown, 0, whole=True)
        self.stop_and_go = stop_and_go
        self.gain, self.fall = gain, fall
        self.patience, self.every, self.cooldown = patience, every, cooldown
        self.progress = {task: Progress() for task in tasks}

    @property
    def stopped(self) -> list[str]:
        """The tasks that are stopped now."""
        return [task for task, of in self.progress.items() if of.stopped]

    def order(self, turns: int) -> list[tuple[str, int]]:
        """The epoch's turns: a task, and which batch of its own this is in the whole training."""
        batches = {task: of.batches for task, of in self.progress.items()}
        order = []
        for task in islice(self._endless(), turns):
            order.append((task, batches[task]))
            batches[task] += 1
        return order

    def _endless(self) -> Iterator[str]:
        everyone = len(self.stopped) in (0, len(self.progress))
        for number in count():
            for task, of in self.progress.items():
                if everyone or not of.stopped or number % self.every == 0:
                    yield task

    def end_epoch(self, turns: int, scores: Mapping[str, float]) -> None:
        """Count an epoch's turns, and stop or start tasks by what an evaluation said.

        Args:
            turns: of the epoch.
            scores: by task, the higher the better; empty where nothing was evaluated.
        """
        for task, batch in self.order(turns):
            self.progress[task].batches = batch + 1
        if self.stop_and_go:
            for task, score in scores.items():
                self._judge(self.progress[task], score)

    def _judge(self, of: Progress, score: float) -> None:
        if math.isnan(score):  # no event was evaluated, which says nothing
            return
        if score > of.best * (1 + self.gain):
            of.best, of.bad = score, 0
        elif of.rest:
            of.bad = 0
        else:
            of.bad += 1
        of.rest = max(of.rest - 1, 0)
        worse = score < of.best * (1 - self.fall)
        if (of.stopped and worse) or (not of.stopped and of.bad >= self.patience):
            of.stopped, of.bad, of.rest = not of.stopped, 0, self.cooldown

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {task: asdict(of) for task, of in self.progress.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Of a training of the same tasks."""
        self.progress = {task: Progress(**state[task]) for task in self.progress}
