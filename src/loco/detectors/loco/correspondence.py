"""LCC, locality-aware correspondence correction: what is near in time should be alike (Eq. 2–5).

A contrastive loss between the two unimodal streams. The correspondence target y says how much a
step of one modality should resemble each step of the other; only pairs within a video have y > 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import full_precision
from loco.nn.processes import gathered, processes


class CorrespondenceTarget(nn.Module, ABC):
    """Makes the in-video blocks of y from a mask (B, T): (B, T, T), 0 wherever a step is padding.

    y is symmetric up to the normalisation of its rows, so that one target serves v→a and a→v.
    """

    @abstractmethod
    def forward(self, mask: Tensor) -> Tensor: ...

    def logged(self) -> dict[str, Tensor]:
        """What is worth a curve over the training, by name, without gradient; nothing here."""
        return {}


class DiagonalTarget(CorrespondenceTarget):
    """y_ii = 1: a step corresponds to the same step of the other modality alone."""

    def forward(self, mask: Tensor) -> Tensor:
        return torch.diag_embed(mask.float())


class SoftenedTarget(CorrespondenceTarget):
    """1 − α on the diagonal; α is shared by the other real steps of the video (label smoothing).

    A video of one step has nothing to share with: its y is 1.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        check_number("alpha", alpha, 0, 1, without="high")
        self.alpha = alpha

    def forward(self, mask: Tensor) -> Tensor:
        others = mask.sum(1)[:, None, None] - 1
        share = self.alpha / others.clamp(min=1)
        diagonal = torch.where(others > 0, 1 - self.alpha, 1.0)
        eye = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        return torch.where(eye, diagonal, share) * pair_mask(mask)


class GaussianTarget(CorrespondenceTarget):
    """y_ij = N(d_ij; 0, σ), d_ij = |i − j|/√2, the distance to the diagonal (Eq. 3–4).

    Args:
        sigma: standard deviation in steps, or where it starts from.
        learnable: learn σ (kept positive by learning its logarithm), or keep it.
        normalize: scale each row of y to sum 1; without, y is the density as Eq. 3 has it.
    """

    log_sigma: Tensor

    def __init__(
        self, sigma: float = 1.0, *, learnable: bool = True, normalize: bool = True
    ) -> None:
        super().__init__()
        check_number("sigma", sigma, 0, without="low")
        log_sigma = torch.tensor(math.log(sigma))
        if learnable:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)
        self.normalize = normalize

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, in steps."""
        return self.log_sigma.exp()

    def logged(self) -> dict[str, Tensor]:
        """σ, in steps."""
        return {"sigma": self.sigma.detach()}

    def forward(self, mask: Tensor) -> Tensor:
        step = torch.arange(mask.shape[1], device=mask.device, dtype=self.log_sigma.dtype)
        distance = (step[:, None] - step).abs() / math.sqrt(2)
        log_density = -0.5 * (distance / self.sigma) ** 2
        pairs = pair_mask(mask)
        if not self.normalize:
            density = (log_density - self.log_sigma - 0.5 * math.log(2 * math.pi)).exp()
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
        weight: λ.
        divergence: `cross_entropy`, −Σ y log p as in Eq. 2, or `kl`, Σ y log (y/p); they differ
            in what a learnable target feels, not in what the features do.
        temperature: where the learnable τ starts. It is learnt as a logarithm, squashed by a tanh
            so that τ stays between 0.001 and 0.5.
        local: with several processes, compare a process's steps with its own alone, so that more
            processes mean fewer negatives; else with those of the whole batch, as one would.
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
        self.project_visual = nn.Linear(dim, dim // 2)
        self.project_audio = nn.Linear(dim, dim // 2)
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

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compare every real step with every real step of the batch.

        Args:
            visual, audio: the encoders' outputs, (B, T, D).
            mask: (B, T).

        Returns:
            `loss_lcc`, λ·LCC, a scalar; and to look at, without gradient, `lcc/temperature` and
            what the target logs, such as `lcc/sigma`.
        """
        temperature = self.temperature
        with full_precision(visual):
            dtype = self.project_visual.weight.dtype
            visual, audio = (x.float() for x in self.embed(visual.to(dtype), audio.to(dtype)))
            target = self.target(mask)
            in_video = visual @ audio.mT / temperature
            to_audio, to_visual, count = self.partitions(visual[mask], audio[mask], temperature)
            lcc = (
                self.direction(in_video, to_audio, target, mask)
                + self.direction(in_video.mT, to_visual, target, mask)
            ) / (2 * count)
        logged = {"temperature": temperature.detach()} | self.target.logged()
        return {"loss_lcc": self.weight * lcc} | {f"lcc/{k}": v for k, v in logged.items()}

    def partitions(
        self, visual: Tensor, audio: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, float]:
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


class NoCorrespondence(nn.Module):
    """No LCC: adds no loss and no parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {}
