"""Candidates to events: voting and class-agnostic suppression as published, and none at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from loco.detection.nms import hard_nms, soft_nms
from loco.detection.suppression import Suppression, Voting

FIXTURE = Path(__file__).parents[1] / "fixtures" / "seg_voting.npz"


@pytest.fixture(scope="module")
def figures() -> dict[str, Tensor]:
    with np.load(FIXTURE) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def candidates(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Segments, scores, labels, videos and durations of three videos, the last without any."""
    torch.manual_seed(seed)
    segments = (torch.rand(count, 2) * 30).sort(1).values
    labels, video = torch.randint(3, (count,)), torch.randint(2, (count,))
    return segments, torch.rand(count), labels, video, torch.tensor([20.0, 25.0, 9.0])


def test_class_agnostic_soft_nms_parity(figures: dict[str, Tensor]) -> None:
    segments, scores, labels = soft_nms(
        figures["segments"], figures["scores"], figures["labels"], sigma=0.75, class_aware=False
    )
    assert torch.allclose(segments, figures["nms.segments"], rtol=0, atol=1e-5)
    assert torch.allclose(scores, figures["nms.scores"], rtol=0, atol=1e-5)
    assert torch.equal(labels, figures["nms.labels"])


@pytest.mark.parametrize("threshold", [0.7, 0.9])
@pytest.mark.parametrize(("origin", "weight"), [("actionformer", "score_iou"), ("tridet", "score")])
def test_voting_parity(
    figures: dict[str, Tensor], origin: str, weight: str, threshold: float
) -> None:
    suppression = Suppression(
        sigma=0.75,
        class_aware=False,
        voting=Voting(threshold, weight),  # type: ignore[arg-type]
    )
    (events,) = suppression.to_events(
        figures["segments"], figures["scores"], figures["labels"],
        torch.zeros_like(figures["labels"]), torch.tensor([1e6]),
    )  # fmt: skip
    expected = figures[f"{origin}.voted{threshold}"].clamp(min=0)
    assert torch.allclose(events.segments, expected, rtol=0, atol=2e-5)
    assert torch.equal(events.labels, figures["nms.labels"])


def test_votes_stay_in_their_video() -> None:
    segments, scores, labels, video, durations = candidates(60)
    voting = Suppression(class_aware=False, voting=Voting(0.3))
    together = voting.to_events(segments, scores, labels, video, durations)
    for b in range(3):
        of = video == b
        (alone,) = voting.to_events(
            segments[of], scores[of], labels[of], torch.zeros_like(video[of]), durations[b : b + 1]
        )
        assert torch.allclose(alone.segments, together[b].segments, rtol=0, atol=1e-5)
        assert torch.equal(alone.labels, together[b].labels)


def test_voting_in_parts_is_voting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    segments, scores, *_ = candidates(50)
    kept = segments[:20]
    whole = Voting(0.4)(kept, segments, scores)
    monkeypatch.setattr("loco.detection.suppression._PAIRS", 150)
    assert torch.allclose(Voting(0.4)(kept, segments, scores), whole, rtol=0, atol=1e-6)
    assert len(Voting()(kept[:0], segments, scores)) == 0


def test_without_classes_hard_nms_lets_all_compete() -> None:
    segments, scores, labels, *_ = candidates(40)
    one_class = hard_nms(segments, scores, torch.zeros_like(labels), 0.3)
    ours = hard_nms(segments, scores, labels, 0.3, class_aware=False)
    assert torch.equal(ours[0], one_class[0])
    assert torch.equal(ours[1], one_class[1])
    assert len(ours[2].unique()) == 3


def test_without_nms_the_best_are_kept_as_they_are() -> None:
    segments, scores, labels, video, durations = candidates(90)
    suppression = Suppression(nms="none", min_score=0.2, max_segments=12)
    detections = suppression.to_events(segments, scores, labels, video, durations)
    assert [len(events) for events in detections] == [12, 12, 0]
    for b, events in enumerate(detections[:2]):
        rows = sorted(
            (-scores[i].item(), i) for i in range(90) if video[i] == b and scores[i] >= 0.2
        )[:12]
        chosen = [i for _, i in rows]
        assert torch.equal(events.scores, scores[chosen])
        assert torch.equal(events.labels, labels[chosen])
        assert torch.equal(events.segments, segments[chosen].clamp(max=durations[b].item()))


def test_no_candidates_at_all() -> None:
    for settings in ({"nms": "none"}, {}, {"class_aware": False, "voting": Voting()}):
        empty = Suppression(**settings).to_events(  # type: ignore[arg-type]
            torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long),
            torch.zeros(0, dtype=torch.long), torch.tensor([3.0, 4.0]),
        )  # fmt: skip
        assert [len(events) for events in empty] == [0, 0]
