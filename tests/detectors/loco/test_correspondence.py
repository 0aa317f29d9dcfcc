"""LCC: Eq. 2–5 as loops over all pairs of steps, and where its gradients go."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from loco.detectors.loco.correspondence import (
    CorrespondenceLoss,
    CorrespondenceTarget,
    DiagonalTarget,
    GaussianTarget,
    NoCorrespondence,
    SoftenedTarget,
)

MASK = torch.arange(6) < torch.tensor([[6], [1], [4]])
TARGETS = {
    "diagonal": DiagonalTarget,
    "softened": lambda: SoftenedTarget(0.3),
    "density": lambda: GaussianTarget(1.7, learnable=False, normalize=False),
    "normalized": lambda: GaussianTarget(0.8),
}


def naive_target(name: str, target: CorrespondenceTarget, i: int, j: int, length: int) -> float:
    """y_ij of two real steps of one video, from the text."""
    if name == "diagonal":
        return float(i == j)
    if name == "softened":
        if length == 1:
            return 1.0
        return 0.7 if i == j else 0.3 / (length - 1)

    def density(j: int) -> float:
        sigma = target.sigma.item()
        distance = abs(i - j) / math.sqrt(2)
        return math.exp(-(distance**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    return density(j) / (1 if name == "density" else sum(density(k) for k in range(length)))


@pytest.mark.parametrize("name", TARGETS)
def test_targets_against_their_formulas(name: str) -> None:
    target = TARGETS[name]()
    y = target(MASK)
    for b in range(3):
        length = int(MASK[b].sum())
        for i in range(6):
            for j in range(6):
                inside = i < length and j < length
                expected = naive_target(name, target, i, j, length) if inside else 0.0
                assert y[b, i, j].item() == pytest.approx(expected, abs=1e-6)
        if name != "density":
            assert torch.allclose(y[b, :length].sum(1), torch.ones(length))


def naive_lcc(loss: CorrespondenceLoss, visual: Tensor, audio: Tensor, y: Tensor) -> Tensor:
    """Both directions over the N × N pairs of all real steps, with the whole target matrix."""
    steps = [(b, t) for b in range(len(MASK)) for t in range(MASK.shape[1]) if MASK[b, t]]
    v, a = loss.embed(visual, audio)
    rows = torch.stack([v[b, t] for b, t in steps])
    columns = torch.stack([a[b, t] for b, t in steps])
    similarity = rows @ columns.T / loss.temperature
    total = torch.zeros(())
    for scores in (similarity, similarity.T):
        for n, (b, i) in enumerate(steps):
            log_p = scores[n].log_softmax(0)
            for m, (c, j) in enumerate(steps):
                y_ij = y[b, i, j] if b == c else torch.zeros(())
                total = total - y_ij * log_p[m]
                if loss.divergence == "kl" and y_ij > 0:
                    total = total + y_ij * y_ij.log()
    return total / len(steps) / 2


@pytest.mark.parametrize("divergence", ["cross_entropy", "kl"])
@pytest.mark.parametrize("name", TARGETS)
def test_loss_and_gradients_against_loops(name: str, divergence: str) -> None:
    torch.manual_seed(0)
    loss = CorrespondenceLoss(8, target=TARGETS[name](), weight=0.5, divergence=divergence)
    visual, audio = torch.randn(2, 3, 6, 8)
    ours = loss(visual, audio, MASK)["loss_lcc"]
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in loss.named_parameters()}
    loss.zero_grad()
    expected = 0.5 * naive_lcc(loss, visual, audio, loss.target(MASK))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    for parameter, p in loss.named_parameters():
        assert torch.allclose(gradients[parameter], p.grad, rtol=1e-3, atol=1e-5), parameter


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("divergence", ["cross_entropy", "kl"])
def test_sigma_and_temperature_learn(normalize: bool, divergence: str) -> None:
    torch.manual_seed(0)
    target = GaussianTarget(1.0, normalize=normalize)
    loss = CorrespondenceLoss(8, target=target, divergence=divergence)
    out = loss(*torch.randn(2, 3, 6, 8), MASK)
    out["loss_lcc"].backward()
    assert target.log_sigma.grad != 0
    assert loss.log_temperature.grad != 0
    assert out["lcc/sigma"] == 1
    assert not out["lcc/sigma"].requires_grad


def test_sigma_stays_positive_and_fixed_sigma_is_no_parameter() -> None:
    target = GaussianTarget(2.0)
    target.log_sigma.data -= 50
    assert target.sigma > 0
    assert target(MASK).isfinite().all()
    fixed = GaussianTarget(2.0, learnable=False)
    assert list(fixed.parameters()) == []
    assert "log_sigma" in fixed.state_dict()


def test_temperature_is_kept_in_its_range() -> None:
    """By its parametrisation, whatever is learnt, and with a gradient that is no jump."""
    for start in (0.0011, 0.07, 0.49):
        assert CorrespondenceLoss(8, temperature=start).temperature.item() == pytest.approx(start)
    loss = CorrespondenceLoss(8)
    for learnt, expected in ((50.0, 0.5), (-50.0, 0.001)):
        loss.log_temperature.data.fill_(learnt)
        assert loss.temperature.item() == pytest.approx(expected)
        assert loss(*torch.randn(2, 3, 6, 8), MASK)["loss_lcc"].isfinite()


def test_learning_a_logarithm_leaves_the_gradient_small() -> None:
    """τ itself would take nearly all of a clipped gradient at the start (d/dτ = d/dlog τ / τ)."""
    torch.manual_seed(0)
    loss = CorrespondenceLoss(8)
    loss(*torch.randn(2, 3, 6, 8), MASK)["loss_lcc"].backward()
    slope = torch.autograd.grad(loss.temperature, loss.log_temperature)[0]
    assert loss.log_temperature.grad is not None
    raw = loss.log_temperature.grad / slope
    assert loss.log_temperature.grad.abs() < 0.08 * raw.abs()


def test_two_losses_before_one_backward() -> None:
    loss = CorrespondenceLoss(8)
    sum(loss(*torch.randn(2, 3, 6, 8), MASK)["loss_lcc"] for _ in range(2)).backward()
    assert loss.log_temperature.grad is not None


class MatrixTypes(TorchDispatchMode):
    """Notes the floating-point types of matrix products and log-sum-exps."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(name in str(func) for name in ("aten.mm", "aten.bmm", "addmm", "logsumexp")):
            self.seen.add(out.dtype)
        return out


def test_bfloat16_autocast_leaves_the_logits_in_float32() -> None:
    torch.manual_seed(0)
    loss = CorrespondenceLoss(8)
    visual, audio = torch.randn(2, 3, 6, 8)
    expected = loss(visual, audio, MASK)["loss_lcc"]
    with torch.autocast("cpu", torch.bfloat16), MatrixTypes() as types:
        found = loss(visual, audio, MASK)["loss_lcc"]
    assert types.seen == {torch.float32}
    assert torch.equal(found, expected)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(visual.bfloat16(), audio.bfloat16(), MASK)["loss_lcc"]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(expected.item(), rel=0.02)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    loss = CorrespondenceLoss(8)
    visual, audio = torch.randn(2, 3, 6, 8)
    before = loss(visual, audio, MASK)["loss_lcc"]
    visual[~MASK] = audio[~MASK] = 1e3
    wider = torch.nn.functional.pad(MASK, (0, 5))
    visual, audio = (torch.nn.functional.pad(x, (0, 0, 0, 5)) for x in (visual, audio))
    assert torch.allclose(loss(visual, audio, wider)["loss_lcc"], before, rtol=1e-6)


def test_aligned_streams_have_a_lower_loss() -> None:
    """Streams whose similarity falls with distance in time fit better than shuffled ones."""
    torch.manual_seed(0)
    loss = CorrespondenceLoss(8)
    with torch.no_grad():
        loss.project_audio.load_state_dict(loss.project_visual.state_dict())
    walk = torch.randn(1, 40, 8).cumsum(1)
    mask = torch.ones(1, 40, dtype=torch.bool)
    aligned = loss(walk, walk, mask)["loss_lcc"]
    shuffled = loss(walk, walk[:, torch.randperm(40)], mask)["loss_lcc"]
    assert aligned < shuffled


def test_no_correspondence_adds_nothing() -> None:
    assert NoCorrespondence(8)(*torch.randn(2, 3, 6, 8), MASK) == {}
    assert list(NoCorrespondence(8).parameters()) == []


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        GaussianTarget(0.0)
    with pytest.raises(ValueError, match="alpha"):
        SoftenedTarget(1.0)
    with pytest.raises(ValueError, match="divergence"):
        CorrespondenceLoss(8, divergence="js")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature"):
        CorrespondenceLoss(8, temperature=1.0)
