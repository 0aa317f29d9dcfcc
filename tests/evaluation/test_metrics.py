"""Average precision against the definition in loops and the parity figures; the metric's states."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.evaluation.metrics import DetectionMAP, average_precision, precision_recall
from loco.structures import Events

FIXTURE = Path(__file__).parents[1] / "fixtures" / "detection_map.npz"
THRESHOLDS = np.linspace(0.1, 0.9, 9)
Columns = dict[str, np.ndarray]


def naive_iou(a: np.ndarray, b: np.ndarray) -> float:
    overlap = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    union = (a[1] - a[0]) + (b[1] - b[0]) - overlap
    return overlap / union if union > 0 else 0.0


def naive_average_precision(c: Columns, threshold: float, label: int) -> float:
    """One class at one threshold, prediction by prediction, as the definition says."""
    truths = [i for i in range(len(c["gt_labels"])) if c["gt_labels"][i] == label]
    truths.sort(key=lambda i: tuple(c["gt_segments"][i]))
    if not truths:
        return float("nan")
    ranked = [i for i in range(len(c["pred_labels"])) if c["pred_labels"][i] == label]
    ranked.sort(
        key=lambda i: (-c["pred_scores"][i], c["pred_video"][i], *c["pred_segments"][i].tolist())
    )
    taken: set[int] = set()
    hits = []
    for i in ranked:
        best, best_iou = None, -1.0
        for j in truths:
            if j in taken or c["gt_video"][j] != c["pred_video"][i]:
                continue
            iou = naive_iou(c["pred_segments"][i], c["gt_segments"][j])
            if iou >= threshold and iou > best_iou:
                best, best_iou = j, iou
        if best is not None:
            taken.add(best)
        hits.append(best is not None)
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    area = 0.0
    for n, hit in enumerate(hits):
        if hit:
            area += max(precision[n:]) / len(truths)
    return area


def columns(
    predictions: list[tuple[int, float, float, int, float]],
    truths: list[tuple[int, float, float, int]],
) -> Columns:
    """From rows (video, start, end, label, score) and (video, start, end, label)."""
    pred = np.array(predictions, dtype=np.float64).reshape(-1, 5)
    true = np.array(truths, dtype=np.float64).reshape(-1, 4)
    return {
        "pred_video": pred[:, 0].astype(int),
        "pred_segments": pred[:, 1:3],
        "pred_labels": pred[:, 3].astype(int),
        "pred_scores": pred[:, 4],
        "gt_video": true[:, 0].astype(int),
        "gt_segments": true[:, 1:3],
        "gt_labels": true[:, 3].astype(int),
    }


def random_columns(seed: int, num_videos: int = 23, num_classes: int = 5) -> Columns:
    """Detections around the ground truths and elsewhere; some scores are equal."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for video in range(num_videos):
        for _ in range(rng.integers(0, 5)):
            start, length, label = rng.uniform(0, 50), rng.gamma(2, 4), rng.integers(num_classes)
            truths.append((video, start, start + length, label))
            for _ in range(rng.integers(0, 6)):
                a, b = rng.normal(0, 0.3, 2) * length
                predictions.append(
                    (video, start + a, start + length + b, label, round(rng.random(), 2))
                )
        for _ in range(rng.integers(0, 4)):
            start = rng.uniform(0, 50)
            predictions.append(
                (video, start, start + 5, rng.integers(num_classes), round(rng.random(), 2))
            )
    return columns(predictions, truths)


def as_events(c: Columns, videos: list[int]) -> tuple[list[Events], list[Events]]:
    """The predictions and the ground truths of some videos."""
    predictions, targets = [], []
    for video in videos:
        found, true = c["pred_video"] == video, c["gt_video"] == video
        predictions.append(
            Events(
                torch.from_numpy(c["pred_segments"][found]),
                torch.from_numpy(c["pred_labels"][found]),
                torch.from_numpy(c["pred_scores"][found]),
            )
        )
        targets.append(
            Events(torch.from_numpy(c["gt_segments"][true]), torch.from_numpy(c["gt_labels"][true]))
        )
    return predictions, targets


@st.composite
def drawn_columns(draw: st.DrawFn) -> Columns:
    """Whole seconds and few scores, so that ties and shared ground truths are the rule."""
    video, label, second = st.integers(0, 1), st.integers(0, 1), st.integers(0, 6)
    span = st.tuples(second, second).map(sorted)
    truths = draw(st.lists(st.tuples(video, span, label), max_size=6))
    predictions = draw(
        st.lists(st.tuples(video, span, label, st.sampled_from([0.2, 0.5, 0.9])), max_size=10)
    )
    return columns(
        [(v, a, b, k, s) for v, (a, b), k, s in predictions],
        [(v, a, b, k) for v, (a, b), k in truths],
    )


# -- average_precision ----------------------------------------------------------------------------


def test_parity_figures() -> None:
    data = np.load(FIXTURE)
    names = columns([], []).keys()
    num_classes = int(max(data["gt_labels"].max(), data["pred_labels"].max())) + 1
    ap = average_precision(
        **{name: data[name] for name in names},
        tiou_thresholds=data["tiou_thresholds"],
        num_classes=num_classes,
    )
    with_truth = data["expected_ap_classes"]
    np.testing.assert_allclose(ap[:, with_truth], data["expected_ap"], rtol=0, atol=1e-9)
    assert np.isnan(np.delete(ap, with_truth, axis=1)).all()
    means = np.nanmean(ap, axis=1)
    np.testing.assert_allclose(means, data["expected_map"], rtol=0, atol=1e-9)
    assert means.mean() == pytest.approx(float(data["expected_average_map"]), abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(drawn_columns())
def test_equals_the_definition(c: Columns) -> None:
    thresholds = [0.0, 0.2, 0.5, 1.0]
    ap = average_precision(**c, tiou_thresholds=thresholds, num_classes=3)
    expected = [[naive_average_precision(c, t, label) for label in range(3)] for t in thresholds]
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition_on_many_videos(seed: int) -> None:
    c = random_columns(seed)
    ap = average_precision(**c, tiou_thresholds=THRESHOLDS, num_classes=6)
    expected = [[naive_average_precision(c, t, label) for label in range(6)] for t in THRESHOLDS]
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(drawn_columns(), st.integers(0, 2**32 - 1))
def test_the_order_of_the_input_never_matters(c: Columns, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pred = rng.permutation(len(c["pred_labels"]))
    true = rng.permutation(len(c["gt_labels"]))
    shuffled = {k: v[pred if k.startswith("pred") else true] for k, v in c.items()}
    settings_ = {"tiou_thresholds": THRESHOLDS, "num_classes": 2}
    np.testing.assert_array_equal(
        average_precision(**shuffled, **settings_), average_precision(**c, **settings_)
    )


def test_tensors_do_as_well() -> None:
    c = random_columns(0)
    ours = average_precision(**c, tiou_thresholds=THRESHOLDS, num_classes=5)
    tensors = {k: torch.from_numpy(v) for k, v in c.items()}
    again = average_precision(
        **tensors, tiou_thresholds=torch.from_numpy(THRESHOLDS), num_classes=5
    )
    np.testing.assert_array_equal(again, ours)


def test_no_predictions_and_no_ground_truth() -> None:
    nothing = average_precision(**columns([], []), tiou_thresholds=[0.5], num_classes=2)
    assert np.isnan(nothing).all()
    missed = average_precision(**columns([], [(0, 0, 1, 1)]), tiou_thresholds=[0.5], num_classes=2)
    assert np.isnan(missed[0, 0])
    assert missed[0, 1] == 0
    empty: list[Any] = []
    assert np.isnan(average_precision(empty, empty, empty, empty, empty, empty, empty, 0.5, 1))


def test_a_prediction_in_a_video_without_ground_truth_is_wrong() -> None:
    c = columns([(7, 0, 4, 0, 0.9), (0, 0, 4, 0, 0.8)], [(0, 0, 4, 0), (3, 0, 4, 0)])
    ap = average_precision(**c, tiou_thresholds=[0.5], num_classes=1)
    assert ap[0, 0] == 0.25  # half of the truths, at precision one half


def test_a_second_detection_of_a_truth_is_wrong() -> None:
    c = columns([(0, 0, 4, 0, 0.9), (0, 0, 4, 0, 0.8)], [(0, 0, 4, 0), (0, 9, 12, 0)])
    ap = average_precision(**c, tiou_thresholds=[0.5], num_classes=1)
    assert ap[0, 0] == 0.5


def test_a_prediction_falls_back_on_the_next_best_truth() -> None:
    truths = [(0, 0.0, 10.0, 0), (0, 1.0, 11.0, 0)]
    c = columns([(0, 0, 10, 0, 0.9), (0, 0, 10, 0, 0.8)], truths)
    ap = average_precision(**c, tiou_thresholds=[0.5, 0.9], num_classes=1)
    assert ap[:, 0].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_tiou_equal_to_the_threshold_matches(tenths: int) -> None:
    c = columns([(0, 0, tenths, 0, 0.9)], [(0, 0, 10, 0)])
    at = tenths / 10
    ap = average_precision(**c, tiou_thresholds=[at, np.nextafter(at, 1)], num_classes=1)
    assert ap[:, 0].tolist() == [1.0, 0.0]


def test_moments_without_length() -> None:
    c = columns([(0, 3, 3, 0, 0.9), (0, 0, 4, 0, 0.5)], [(0, 3, 3, 0), (0, 0, 4, 0)])
    ap = average_precision(**c, tiou_thresholds=[0.5], num_classes=1)
    assert ap[0, 0] == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_segments": np.zeros((3, 2))}, "pred_segments must be of shape"),
        ({"pred_scores": np.full(1, np.nan)}, "pred_scores must be finite"),
        ({"gt_segments": np.full((1, 2), np.inf)}, "gt_segments must be finite"),
        ({"pred_labels": np.array([2])}, "pred_labels must lie in"),
        ({"gt_labels": np.array([0.5])}, "gt_labels must hold integers"),
        ({"pred_video": np.zeros((1, 1), int)}, "pred_video must be a vector"),
        ({"tiou_thresholds": [1.5]}, "tiou_thresholds must be fractions"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good = columns([(0, 0, 4, 0, 0.9)], [(0, 0, 4, 0)])
    with pytest.raises(ValueError, match=message):
        average_precision(**{**good, "tiou_thresholds": [0.5], "num_classes": 2, **change})


# -- DetectionMAP ---------------------------------------------------------------------------------


def scores_of(metric: DetectionMAP) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def one_process(c: Columns, num_videos: int) -> DetectionMAP:
    metric = DetectionMAP(5)
    metric.update(*as_events(c, list(range(num_videos))), list(range(num_videos)))
    return metric


def test_the_metric_is_the_mean_of_average_precision() -> None:
    c = random_columns(1)
    metric = one_process(c, 23)
    ap = average_precision(**c, tiou_thresholds=THRESHOLDS, num_classes=5)
    np.testing.assert_array_equal(metric.per_class(), ap)
    scores = scores_of(metric)
    assert list(scores) == ["mAP", *(f"mAP@0.{i}" for i in range(1, 10))]
    assert scores["mAP"] == pytest.approx(np.nanmean(ap), abs=1e-12)
    assert scores["mAP@0.5"] == pytest.approx(np.nanmean(ap[4]), abs=1e-12)


def test_batches_order_ids_and_repeats_change_nothing() -> None:
    c = random_columns(2)
    expected = scores_of(one_process(c, 23))
    metric = DetectionMAP(5)
    for videos in ([22, 3, 4], [0, 1, 2, 3], *([v] for v in range(5, 22)), [22, 22]):
        metric.update(*as_events(c, videos), torch.tensor(videos))
    assert scores_of(metric) == expected
    unnamed = DetectionMAP(5)
    for video in range(23):
        unnamed.update(*as_events(c, [video]))
    assert scores_of(unnamed) == expected
    metric.reset()
    metric.update(*as_events(c, list(range(23))))
    assert scores_of(metric) == expected


def test_of_two_copies_the_first_is_kept_whole() -> None:
    true = Events(torch.tensor([[0.0, 4.0]]), torch.tensor([0]))
    right = Events(torch.tensor([[0.0, 4.0]]), torch.tensor([0]), torch.tensor([0.3]))
    wrong = Events(torch.tensor([[8.0, 9.0]]), torch.tensor([0]), torch.tensor([0.9]))
    metric = DetectionMAP(1)
    metric.update([right], [true], [5])
    metric.update([wrong], [true], [5])
    assert scores_of(metric)["mAP"] == 1


def test_the_states_stay_exact_whatever_the_module_is_cast_to() -> None:
    c = random_columns(3)
    expected = scores_of(one_process(c, 23))
    module = torch.nn.Module()
    module.metric = one_process(c, 23)
    module.half().to(torch.bfloat16).float()
    module.metric.set_dtype(torch.float16)
    assert scores_of(module.metric) == expected


def test_videos_without_anything() -> None:
    metric = DetectionMAP(2)
    metric.update([Events.empty(scored=True)], [Events.empty()])
    metric.update([], [])
    assert all(np.isnan(list(scores_of(metric).values())))
    true = Events(torch.tensor([[0.0, 4.0]]), torch.tensor([0]))
    metric.update([Events.empty(scored=True)], [true])
    assert scores_of(metric)["mAP"] == 0


def test_forward_gives_the_batch_and_accumulates() -> None:
    c = random_columns(4)
    metric = DetectionMAP(5)
    first = metric(*as_events(c, list(range(10))))
    alone = DetectionMAP(5)
    alone.update(*as_events(c, list(range(10))))
    assert {k: v.item() for k, v in first.items()} == scores_of(alone)
    metric(*as_events(c, list(range(10, 23))))
    assert scores_of(metric) == scores_of(one_process(c, 23))


def test_bad_updates_are_refused() -> None:
    metric = DetectionMAP(2)
    with pytest.raises(ValueError, match="1 predictions, 0 targets"):
        metric.update([Events.empty(scored=True)], [])
    with pytest.raises(ValueError, match="must have scores"):
        metric.update([Events.empty()], [Events.empty()])
    with pytest.raises(ValueError, match="negative"):
        metric.update([Events.empty(scored=True)], [Events.empty()], [-1])
    with pytest.raises(ValueError, match="fractions"):
        DetectionMAP(2, [50])


def _in_a_group(rank: int, world: int, folder: str, c: Columns, parts: list[list[int]]) -> None:
    store = f"file://{folder}/store{world}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    metric = DetectionMAP(5)
    for video in parts[rank]:
        metric.update(*as_events(c, [video]), [video])
    result = {"scores": scores_of(metric), "matrix": metric.per_class()}
    again = scores_of(metric)  # the states are whole again after `compute`
    metric.update(*as_events(c, parts[rank]), parts[rank])
    assert scores_of(metric) == again == result["scores"]
    torch.save(result, f"{folder}/{world}-{rank}.pt")
    dist.destroy_process_group()


def _process(rank: int, folder: str, c: Columns, jobs: dict[int, list[list[int]]]) -> None:
    torch.set_num_threads(1)
    for world, parts in jobs.items():
        if rank < world:
            _in_a_group(rank, world, folder, c, parts)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_processes_together_equal_one_bit_for_bit() -> None:
    """Two and three processes; 23 videos do not divide, so some are repeated; one has none."""
    c = random_columns(5)
    jobs = {
        3: [[*range(0, 23, 2), 1], [], [*range(1, 23, 2), 22, 0]],
        2: [[*range(0, 23, 2)], [*range(1, 23, 2), 0]],
    }
    expected = one_process(c, 23)
    multiprocessing.set_forkserver_preload(
        ["loco.evaluation.metrics"]
    )  # imported once for the three
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_process, args=(folder, c, jobs), nprocs=3, start_method="forkserver")
        for world in jobs:
            for rank in range(world):
                result = torch.load(f"{folder}/{world}-{rank}.pt", weights_only=False)
                assert result["scores"] == scores_of(expected)
                np.testing.assert_array_equal(result["matrix"], expected.per_class())


def test_precision_recall_against_its_definition() -> None:
    c = random_columns(3)
    curves = precision_recall(c, tiou=0.5, num_classes=5, num_points=21)
    ap = average_precision(**c, tiou_thresholds=[0.5], num_classes=5)[0]
    for k in range(5):
        num_truths = int((c["gt_labels"] == k).sum())
        if num_truths == 0:
            assert np.isnan(curves[k]).all()
            continue
        assert (np.diff(curves[k]) <= 1e-12).all()
        # at the recalls of 1, 2, … found events, the curve's mean is the average precision
        fine = precision_recall(c, tiou=0.5, num_classes=5, num_points=num_truths + 1)[k]
        assert fine[1:].mean() == pytest.approx(ap[k], abs=1e-12)
        assert fine[0] == fine[1] or num_truths == 0
