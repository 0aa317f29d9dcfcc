"""LCC, locality-aware correspondence correction: what is near in time should be alike (Eq. 2–5).

A contrastive loss between the two unimodal streams. The correspondence target y says how much a
step of one modality should resemble each step of the other; only pairs within a video have y > 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detectors.loco.pairs import Chosen, PairRule
from loco.errors import check_number
from loco.nn.gradient_balance import GradientBalance
from loco.nn.layers import full_precision
from loco.nn.processes import gathered, processes
from loco.structures import Batch, TimeGrid


class CorrespondenceTarget(nn.Module, ABC):
    """Makes the in-video blocks of y from a mask (B, T): (B, T, T), 0 wherever a step is padding.

    y is symmetric up to the normalisation of its rows, so that one target serves v→a and a→v. Only
    a target that is told in seconds asks for the grid.
    """

    @abstractmethod
    def forward(self, mask: Tensor, grid: TimeGrid | None = None) -> Tensor: ...

    def logged(self) -> dict[str, Tensor]:
        """What is worth a curve over the training, by name, without gradient; nothing here."""
        return {}


class DiagonalTarget(CorrespondenceTarget):
    """y_ii = 1: a step corresponds to the same step of the other modality alone."""

    def forward(self, mask: Tensor, grid: TimeGrid | None = None) -> Tensor:
        return torch.diag_embed(mask.float())


class SoftenedTarget(CorrespondenceTarget):
    """1 − α on the diagonal; α is shared by the other real steps of the video (label smoothing).

    A video of one step has nothing to share with: its y is 1.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        check_number("alpha", alpha, 0, 1, without="high")
        self.alpha = alpha

    def forward(self, mask: Tensor, grid: TimeGrid | None = None) -> Tensor:
        others = mask.sum(1)[:, None, None] - 1
        share = self.alpha / others.clamp(min=1)
        diagonal = torch.where(others > 0, 1 - self.alpha, 1.0)
        eye = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        return torch.where(eye, diagonal, share) * pair_mask(mask)


class GaussianTarget(CorrespondenceTarget):
    """y_ij = N(d_ij; 0, σ), d_ij = |i − j|/√2, the distance to the diagonal (Eq. 3–4).

    Args:
        sigma: standard deviation in steps or in seconds, or where it starts from.
        learnable: learn σ (kept positive by learning its logarithm), or keep it.
        normalize: scale each row of y to sum 1; without, y is the density as Eq. 3 has it.
        unit: of σ; in `seconds` it means the same on every grid.
    """

    log_sigma: Tensor

    def __init__(
        self,
        sigma: float = 1.0,
        *,
        learnable: bool = True,
        normalize: bool = True,
        unit: Literal["steps", "seconds"] = "steps",
    ) -> None:
        super().__init__()
        check_number("sigma", sigma, 0, without="low")
        if unit not in ("steps", "seconds"):
            raise ValueError(f"unit must be steps or seconds, got {unit!r}")
        log_sigma = torch.tensor(math.log(sigma))
        if learnable:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)
        self.normalize = normalize
        self.unit = unit

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, in its unit."""
        return self.log_sigma.exp()

    def logged(self) -> dict[str, Tensor]:
        """σ, in its unit."""
        return {"sigma" if self.unit == "steps" else "sigma_seconds": self.sigma.detach()}

    def forward(self, mask: Tensor, grid: TimeGrid | None = None) -> Tensor:
        step = torch.arange(mask.shape[1], device=mask.device, dtype=self.log_sigma.dtype)
        distance = (step[:, None] - step).abs() / math.sqrt(2)
        log_sigma = self.log_sigma
        if self.unit == "seconds":
            if grid is None:
                raise ValueError("a σ in seconds needs the batch, for its grid")
            log_sigma = log_sigma - math.log(grid.stride / grid.fps)
        log_density = -0.5 * (distance / log_sigma.exp()) ** 2
        pairs = pair_mask(mask)
        if not self.normalize:
            density = (log_density - log_sigma - 0.5 * math.log(2 * math.pi)).exp()
            return density * pairs
        masked = log_density.masked_fill(~pairs, torch.finfo(log_density.dtype).min)
        return masked.softmax(-1) * pairs


def pair_mask(mask: Tensor) -> Tensor:
    """(B, T) → (B, T, T), True where both steps are real."""
    return mask.unsqueeze(2) & mask.unsqueeze(1)


class CorrespondenceLoss(nn.Module):
    """LCC of a batch: the mean of the v→a and a→v losses, times λ (Eq. 2 and 5).

    Args:
        dim: width D of the streams; they are compared in D/2 dimensions.
        target: makes y.
        weight: λ; with a balance that has a target, where it starts.
        divergence: `cross_entropy`, −Σ y log p as in Eq. 2, or `kl`, Σ y log (y/p); they differ
            in what a learnable target feels, not in what the features do.
        temperature: where the learnable τ starts. It is learnt as a logarithm, squashed by a tanh
            so that τ stays between 0.001 and 0.5.
        local: with several processes, compare a process's steps with its own alone, so that more
            processes mean fewer negatives; else with those of the whole batch, as one would.
        balance: measures how much LCC pulls at the encoders beside the detector, and may set λ by
            it; None is a fixed λ.
        detach: learn to compare the encoders' outputs without teaching the encoders: a control, in
            which the detector is exactly what it is without LCC.
        pairs: which steps are compared, by the labels; None compares all.
        projector: makes from D a module that maps D to D/2 channels, one for each stream.

    Raises:
        ValueError: a setting out of its range, or a balance of what has no pull.
    """

    temperature_range = (0.001, 0.5)

    def __init__(
        self,
        dim: int,
        *,
        target: CorrespondenceTarget | None = None,
        weight: float = 0.1,
        divergence: Literal["cross_entropy", "kl"] = "kl",
        temperature: float = 0.07,
        local: bool = False,
        balance: GradientBalance | None = None,
        detach: bool = False,
        pairs: PairRule | None = None,
        projector: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if divergence not in ("cross_entropy", "kl"):
            raise ValueError(f"divergence must be cross_entropy or kl, got {divergence!r}")
        check_number("dim", dim, 2, whole=True)
        check_number("weight", weight, 0)
        check_number("temperature", temperature, *self.temperature_range, without="low high")
        self.target = GaussianTarget() if target is None else target
        self.weight = weight
        self.divergence = divergence
        self.local = local
        if balance is not None and (detach or weight == 0):
            raise ValueError("balance needs weight > 0 and detach=false, or LCC has no gradient")
        self.balance = balance
        self.detach = detach
        # what does not teach takes no share of the clipping
        self.clip_apart = detach or weight == 0
        self.pairs = pairs
        project = _linear_projector if projector is None else projector
        self.project_visual, self.project_audio = project(dim), project(dim)
        middle, reach = self._log_range()
        self.log_temperature = nn.Parameter(
            torch.tensor(reach * math.atanh((math.log(temperature) - middle) / reach))
        )

    @property
    def temperature(self) -> Tensor:
        """τ."""
        middle, reach = self._log_range()
        return (middle + reach * torch.tanh(self.log_temperature / reach)).exp()

    def _log_range(self) -> tuple[float, float]:
        """The middle of the range of log τ, and how far it reaches to either side."""
        low, high = map(math.log, self.temperature_range)
        return (low + high) / 2, (high - low) / 2

    def embed(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams (B, T, D) as unit vectors of the common space, (B, T, D/2)."""
        return (
            functional.normalize(self.project_visual(visual), dim=-1),
            functional.normalize(self.project_audio(audio), dim=-1),
        )

    def forward(
        self, visual: Tensor, audio: Tensor, mask: Tensor, batch: Batch | None = None
    ) -> dict[str, Tensor]:
        """Compare every real step with every real step of the batch, or those that `pairs` chooses.

        Args:
            visual, audio: the encoders' outputs, (B, T, D).
            mask: (B, T).
            batch: whose outputs they are; asked for by `pairs`, and by a σ in seconds.

        Returns:
            `loss_lcc`, λ·LCC, a scalar; and to look at, without gradient, `lcc/temperature`, what
            the target logs, such as `lcc/sigma`, and with a balance `lcc/gradient_ratio`, of λ·LCC
            to the detector, and `lcc/weight`, λ.
        """
        temperature = self.temperature
        weight: float | Tensor = self.weight
        logged = {"temperature": temperature.detach()} | self.target.logged()
        if self.detach:
            visual, audio = visual.detach(), audio.detach()
        if self.balance is not None:
            weight = self.balance.weight(self.weight)
            logged |= {"gradient_ratio": weight * self.balance.ratio, "weight": weight}
            visual, audio = self.balance.watch((visual, audio), weight)
        with full_precision(visual):
            dtype = next(self.project_visual.parameters()).dtype
            visual, audio = (x.float() for x in self.embed(visual.to(dtype), audio.to(dtype)))
            target = self.target(mask, None if batch is None else batch.grid)
            in_video = visual @ audio.mT / temperature
            if self.pairs is None:
                to_audio, to_visual, count = self.partitions(visual[mask], audio[mask], temperature)
                pulled: float | Tensor = 0.0
            else:
                if batch is None:
                    raise ValueError(
                        "pairs are chosen by the events of a batch, which is not given"
                    )
                chosen = self.pairs(target, batch, local=self.local)
                target, count = target * chosen.share, chosen.num_rows
                to_audio, to_visual, pulled = self.chosen_partitions(
                    visual[mask], audio[mask], temperature, chosen
                )
            lcc = (
                self.direction(in_video, to_audio, target, mask)
                + self.direction(in_video.mT, to_visual, target, mask)
                + pulled
            ) / (2 * count)
        return {"loss_lcc": weight * lcc} | {f"lcc/{k}": v for k, v in logged.items()}

    def partitions(
        self, visual: Tensor, audio: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, float | Tensor]:
        """What a step is compared with: every step of the batch, those of other processes too.

        Args:
            visual, audio: (N, D/2) unit vectors of this process's N real steps.
            temperature: τ.

        Returns:
            log Σ_j exp(s_ij / τ) of v→a and of a→v, (N,) each; and the steps to average over: so
            many that the mean over processes is the mean over all steps.
        """
        if self.local or processes() == 1:
            similarity = visual @ audio.mT / temperature
            return similarity.logsumexp(1), similarity.logsumexp(0), len(visual)
        all_visual, all_audio = gathered(torch.cat([visual, audio], dim=1)).chunk(2, dim=1)
        return (
            (visual @ all_audio.mT / temperature).logsumexp(1),
            (audio @ all_visual.mT / temperature).logsumexp(1),
            len(all_visual) / processes(),
        )

    def chosen_partitions(
        self, visual: Tensor, audio: Tensor, temperature: Tensor, chosen: Chosen
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same over the pairs that are chosen; and the loss of what is pulled, both ways."""
        columns = torch.cat([visual, audio], dim=1)
        all_visual, all_audio = (columns if self.local else gathered(columns)).chunk(2, dim=1)
        kl = self.divergence == "kl"
        to_audio, sees = chosen.compare(visual @ all_audio.mT / temperature, entropy=kl)
        to_visual, hears = chosen.compare(audio @ all_visual.mT / temperature, entropy=kl)
        return to_audio, to_visual, sees + hears

    def direction(
        self, in_video: Tensor, log_partition: Tensor, target: Tensor, mask: Tensor
    ) -> Tensor:
        """Eq. 2 for one direction, the sum over the real steps.

        Only in-video pairs have y > 0, so their blocks (B, T, T) of the similarities are enough,
        once the partition functions (N,) have seen all pairs.
        """
        partition = in_video.new_zeros(mask.shape)
        partition[mask] = log_partition
        loss = -(target * (in_video - partition.unsqueeze(2))).sum()
        if self.divergence == "kl":
            # y log y is 0 at y = 0, but its gradient there would be 0 · ∞
            loss = loss + (target * target.clamp(min=torch.finfo(target.dtype).tiny).log()).sum()
        return loss


def _linear_projector(dim: int) -> nn.Module:
    return nn.Linear(dim, dim // 2)


class NoCorrespondence(nn.Module):
    """No LCC: adds no loss and no parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(
        self, visual: Tensor, audio: Tensor, mask: Tensor, batch: Batch | None = None
    ) -> dict[str, Tensor]:
        return {}
