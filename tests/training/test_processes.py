"""Two processes with halves of a batch train as one with all of it does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from batches import total
from loco.data.dataset import collate
from loco.detection.losses import DetectionLoss
from loco.detectors.loco.correspondence import CorrespondenceLoss
from loco.detectors.loco.detector import LoCo
from loco.detectors.loco.pairs import PairRule
from loco.detectors.tadtr.detector import TadTR
from loco.detectors.tridet.detector import TriDet
from loco.detectors.uniav.detector import Task, UniAV
from loco.detectors.vsgn.detector import VSGN
from loco.detectors.vsgn.losses import BoxLoss
from loco.nn.gradient_balance import GradientBalance
from loco.nn.processes import gathered
from loco.structures import Batch, Events, Sample, TimeGrid
from loco.training.gather import averaged, everywhere
from loco.training.module import LocalizationModule

GRID = TimeGrid(fps=25, window=24, stride=8)
HALVES = ([0, 1, 4], [2, 3, 5])
"""Videos; the second half has no events in the third step, there is one in all in the fourth."""
STEPS = 4
WORLD = 2


def loco(local: bool = False) -> LoCo:
    return LoCo(
        6, 5, 3, dim=16, heads=2, num_levels=3, encoder_blocks=1, decoder_blocks=1,
        drop_path=0.0, layer_scale=0.5, criterion=DetectionLoss(normalizer=10.0),
        correspondence=lambda dim: CorrespondenceLoss(dim, weight=1.0, local=local),
    )  # fmt: skip


def loco_balanced() -> LoCo:
    """λ by the gradients of both halves, pairs by the events of both."""
    model = loco()
    model.correspondence = CorrespondenceLoss(
        16, balance=GradientBalance(), pairs=PairRule("events", "pull", "ignore", near=0.3)
    )
    return model


def uniav() -> UniAV:
    return UniAV(
        6, 5, 3, dim=16, heads=2, num_levels=3, encoder_blocks=1, head_dim=16, text_channels=8,
        drop_path=0.0, layer_scale=0.5,
        tasks={"avel": Task(criterion=DetectionLoss(normalizer=10.0))},
    )  # fmt: skip


def tridet() -> TriDet:
    return TriDet(
        6, 5, 3, dim=16, feed_forward=16, num_levels=3, input_noise=0.0, drop_path=0.0,
        layer_scale=0.5, criterion=DetectionLoss(normalizer=10.0, quality_power=0.2),
    )  # fmt: skip


def tadtr() -> TadTR:
    return TadTR(
        6, 5, 3, dim=16, heads=2, encoder_layers=1, decoder_layers=2, feed_forward=16,
        num_queries=8, dropout=0.0,
    )  # fmt: skip


def vsgn(classification: Literal["softmax", "sigmoid"] = "softmax") -> VSGN:
    return VSGN(
        6, 5, 3, dim=16, length=64, num_levels=3, neighbours=4, head_convs=1,
        criterion=BoxLoss(classification=classification),
    )  # fmt: skip


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "loco": loco,
    "loco_balanced": loco_balanced,
    "uniav": uniav,
    "tridet": tridet,
    "tadtr": tadtr,
    "vsgn": vsgn,
    "vsgn_sigmoid": partial(vsgn, "sigmoid"),
}
"""One of each criterion, and of each way to divide by a count."""


class Losses(nn.Module):
    """Calls a detector's losses as its forward pass, which is what DDP hooks into."""

    def __init__(self, make: Callable[[], nn.Module] = loco) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.detector: Any = make().double()  # else rounding decides which box fits an event

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.detector.losses(batch)
        return losses


def batch_of(videos: list[int], step: int) -> Batch:
    """Videos of 9 to 24 steps, which are the same whatever they share a batch with."""
    samples = []
    for video in videos:
        length = 9 + 3 * video
        generator = torch.Generator().manual_seed(100 * step + video)
        visual, audio = (torch.randn(length, c, generator=generator).numpy() for c in (6, 5))
        end = GRID.end_seconds(length)
        events = Events(torch.tensor([[0.1, 0.5 * end]]).double(), torch.tensor([video % 3]))
        if (step == 2 and video in HALVES[1]) or (step == 3 and video > 0):
            events = Events.empty()
        samples.append(Sample(str(video), video, visual, audio, end, events))
    batch = collate(samples, GRID)
    return replace(batch, visual=batch.visual.double(), audio=batch.audio.double())


def train(model: nn.Module, videos: list[int]) -> dict[str, Any]:
    """Some steps; gradients of the first one, weights of the last one, what was logged."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    logged, gradients = [], {}
    for step in range(STEPS):
        losses = model(batch_of(videos, step))
        optimizer.zero_grad()
        total(losses).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            gradients.setdefault(name.removeprefix("module."), parameter.grad.clone())
        optimizer.step()
        logged.append(averaged({name: value.detach() for name, value in losses.items()}))
    state = {name.removeprefix("module."): value for name, value in model.state_dict().items()}
    return {"gradients": gradients, "state": state, "logged": logged}


def trained(rank: int) -> dict[str, dict[str, Any]]:
    return {
        name: train(DistributedDataParallel(Losses(make)), HALVES[rank])
        for name, make in DETECTORS.items()
    }


def own_partitions(rank: int) -> dict[str, Tensor]:
    return averaged(Losses(partial(loco, local=True))(batch_of(HALVES[rank], 0)))


def rows(rank: int) -> dict[str, Tensor]:
    """2 rows here, 3 there; process r weighs the rows of all by r + 1."""
    own = torch.arange(2.0 + rank).unsqueeze(1).requires_grad_()
    together = gathered(own)
    ((rank + 1) * together**2).sum().backward()
    assert own.grad is not None
    return {"rows": together.detach(), "gradient": own.grad}


def draws(rank: int) -> Tensor:
    """What drop path would draw in a training step."""
    module = LocalizationModule(nn.Identity(), ["a"], seed=3)
    module._trainer = type("Trainer", (), {"global_rank": rank, "current_epoch": 0})()
    module.on_train_batch_start(batch_of([0], 0), 0)
    return torch.rand(4)


def agreed(rank: int) -> list[bool]:
    cpu = torch.device("cpu")
    return [everywhere(rank >= least, cpu) for least in (0, 1)]


JOBS: list[Callable[[int], Any]] = [trained, own_partitions, rows, draws, agreed]


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD)
    torch.save({job.__name__: job(rank) for job in JOBS}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """Of each process what each job returned."""
    multiprocessing.set_forkserver_preload(
        ["loco.detectors.loco.detector", "loco.detectors.tadtr.detector", "loco.training.module"]
    )
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_process, args=(folder,), nprocs=WORLD, start_method="forkserver")
        return [torch.load(Path(folder) / f"{r}.pt", weights_only=False) for r in range(WORLD)]


@pytest.mark.parametrize("name", DETECTORS)
def test_gradients_weights_and_logged_losses_are_those_of_one_process(
    name: str, results: list[dict[str, Any]]
) -> None:
    """With LCC, whose negatives are of both halves, and a half without events."""
    one = train(Losses(DETECTORS[name]), sorted(HALVES[0] + HALVES[1]))
    for rank in range(WORLD):
        two = results[rank]["trained"][name]
        for part in ("gradients", "state"):
            assert one[part].keys() == two[part].keys()
            for key, expected in one[part].items():
                torch.testing.assert_close(two[part][key], expected, rtol=1e-5, atol=1e-5)
        for ours, expected in zip(two["logged"], one["logged"], strict=True):
            for key, value in expected.items():
                assert ours[key].item() == pytest.approx(value.item(), rel=1e-5), key
    for key, value in one["state"].items():
        if key.endswith("normalizer"):
            assert value > 10


def test_local_correspondence_is_the_mean_of_the_halves(results: list[dict[str, Any]]) -> None:
    halves = [Losses()(batch_of(half, 0))["loss_lcc"].item() for half in HALVES]
    whole = Losses()(batch_of(HALVES[0] + HALVES[1], 0))["loss_lcc"].item()
    for rank in range(WORLD):
        ours = results[rank]["own_partitions"]["loss_lcc"].item()
        assert ours == pytest.approx(sum(halves) / 2, rel=1e-6)
        assert abs(ours - whole) > 0.1


def test_gathered_rows_get_the_gradients_of_all_processes(results: list[dict[str, Any]]) -> None:
    for rank in range(WORLD):
        found = results[rank]["rows"]
        assert found["rows"].flatten().tolist() == [0, 1, 0, 1, 2]
        own = torch.arange(2.0 + rank).unsqueeze(1)
        assert torch.equal(found["gradient"], (1 + 2) * 2 * own)


def test_drop_path_differs_between_processes(results: list[dict[str, Any]]) -> None:
    assert torch.equal(results[0]["draws"], draws(0))
    assert not torch.equal(results[0]["draws"], results[1]["draws"])


def test_what_holds_everywhere(results: list[dict[str, Any]]) -> None:
    assert [result["agreed"] for result in results] == [[True, False]] * 2
    assert agreed(1) == [True, True]
