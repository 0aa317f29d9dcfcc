"""Task-aligned assignment against a loop over events and points."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.detection.outputs import PointOutputs
from loco.detection.task_aligned import TaskAlignedAssigner
from loco.structures import Events, TimeGrid

GRID = TimeGrid(1, 1, 1)  # seconds are steps, but for half of one
K = 3


def outputs(points: torch.Tensor, batch: int, seed: int) -> PointOutputs:
    generator = torch.Generator().manual_seed(seed)
    return PointOutputs(
        logits=torch.randn(batch, len(points), K, generator=generator),
        offsets=3 * torch.rand(batch, len(points), K, 2, generator=generator),
        mask=points[:, 0].expand(batch, -1) < torch.tensor([[40.0], [23.0]])[:batch],
        points=points,
    )


def loop(
    rule: TaskAlignedAssigner, said: PointOutputs, events: list[Events]
) -> set[tuple[int, int, int]]:
    """(video, point, class) of the best points of each event."""
    kept = set()
    for b, truth in enumerate(events):
        for i, (start, end) in enumerate((truth.segments - 0.5).tolist()):
            label = int(truth.labels[i])
            ranked = []
            for p, (step, _, _, stride) in enumerate(said.points.tolist()):
                inside = [
                    (e - s, j)
                    for j, (s, e) in enumerate((truth.segments - 0.5).tolist())
                    if int(truth.labels[j]) == label and s < step < e
                ]
                if not said.mask[b, p] or not inside or min(inside)[1] != i:
                    continue
                left, right = said.offsets[b, p, label].tolist()
                low, high = step - left * stride, step + right * stride
                union = max(high, end) - min(low, start)
                iou = max(min(high, end) - max(low, start), 0) / union
                score = said.logits[b, p, label].sigmoid().item()
                ranked.append((score**rule.alpha * iou**rule.beta, p))
            best = sorted(ranked, key=lambda pair: (-pair[0], pair[1]))[: rule.top]
            kept |= {(b, p, label) for _, p in best}
    return kept


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 38), st.integers(2, 30), st.integers(0, K - 1)), max_size=5),
    st.integers(0, 1000),
)
def test_the_best_points_of_each_event(drawn: list[tuple[int, int, int]], seed: int) -> None:
    # no two lengths are equal but for rounding
    ends = [(s + 0.3, min(s + n + 0.3 + 0.01 * i, 40)) for i, (s, n, _) in enumerate(drawn)]
    first = Events(
        torch.tensor(ends).double().view(-1, 2), torch.tensor([k for _, _, k in drawn]).long()
    )
    second = Events(torch.tensor([[2.2, 21.0], [2.2, 21.0]]).double(), torch.tensor([0, 1]))
    rule = TaskAlignedAssigner(top=4, alpha=0.5, beta=2.0)
    points = rule.points(40, [1, 2, 4])
    said = outputs(points, 2, seed)
    candidates = rule(points, [first, second], GRID, K)
    found = rule.choose(candidates, said)
    triples = list(zip(*(x.tolist() for x in found[:3]), strict=True))
    assert triples == sorted(set(triples))
    assert set(triples) == loop(rule, said, [first, second])
    targets = {tuple(t): o for *t, o in zip(*(x.tolist() for x in candidates), strict=True)}
    assert [targets[triple] for triple in triples] == found.offsets.tolist()
