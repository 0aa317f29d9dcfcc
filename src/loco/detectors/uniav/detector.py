"""UniAV, the detector (Geng et al., 2024): one net for events seen, heard, or both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.assignment import RangeAssigner
from loco.detection.decoding import Decoding
from loco.detection.losses import DetectionLoss, point_losses
from loco.detection.outputs import PointOutputs
from loco.detectors.uniav.experts import Choice, ExpertBlockFactory
from loco.detectors.uniav.heads import RANDOM, LanguageClassifier, TaskRegression, text_table
from loco.errors import MAX_LEVELS, LocoError, check_number
from loco.nn.attention import GlobalAttention
from loco.nn.encoder import UnimodalEncoder
from loco.nn.pyramid import CrossModalPyramid
from loco.structures import Batch, Events

log = logging.getLogger(__name__)


class Task:
    """What is a task's own besides its experts.

    Args:
        text: .npy file of the text table (K, C_text), or `random`, see `text_table`.
        class_agnostic: whether the classes share one pair of offsets a point.
        criterion: its losses, with a moving average of its own.
        decoding: from outputs to events.
    """

    def __init__(
        self,
        *,
        text: str = RANDOM,
        class_agnostic: bool = False,
        criterion: DetectionLoss | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        self.text = str(text)
        self.class_agnostic = class_agnostic
        self.criterion = (
            DetectionLoss(regression="diou", normalizer=300) if criterion is None else criterion
        )
        self.decoding = Decoding() if decoding is None else decoding


class UniAV(nn.Module):
    """Two encoders and a cross-modal pyramid with experts, a language-aware classifier.

    The net is UnAV's without its dependency block: queries come from the other stream. A batch
    names its task, whose experts, classes and last regression layer answer; everything else is
    common to the tasks. The parameters of a task bear its name, so that a net of one task takes
    its part of the weights of a net of several. The defaults are the published size.

    Args:
        visual_channels, audio_channels: feature channels of the data, of all tasks.
        num_classes: K, by task; a number where there is one task.
        dim: width D of each stream.
        heads: attention heads H everywhere.
        num_convs: embedding convolutions of an encoder.
        encoder_blocks: transformer blocks of an encoder.
        num_levels: pyramid levels, strides 1, 2, 4, …
        head_dim: width of the heads' hidden convolutions, where steps and names are compared.
        text_channels: C_text of the text tables.
        tasks: settings of each task, by its name; None is the one task `avel`.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the residual branches' learnable channel scales start from.
        assigner: which points answer for which events.

    Source: Geng et al.: UniAV, 2024 (arXiv 2404.03179).
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int | Mapping[str, int],
        *,
        dim: int = 512,
        heads: int = 4,
        num_convs: int = 2,
        encoder_blocks: int = 2,
        num_levels: int = 6,
        head_dim: int = 512,
        text_channels: int = 1536,
        tasks: Mapping[str, Task] | None = None,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        assigner: RangeAssigner | None = None,
    ) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        check_number("text_channels", text_channels, 1, whole=True)
        self.tasks = {"avel": Task()} if tasks is None else dict(tasks)
        self.num_classes = _classes_by_task(num_classes, list(self.tasks))
        self.choice = Choice(next(iter(self.tasks)))
        block = ExpertBlockFactory(
            dim, heads, drop_path, layer_scale,
            asks="context", tasks=list(self.tasks), choice=self.choice,
        )  # fmt: skip
        self.visual_encoder, self.audio_encoder = (
            UnimodalEncoder(channels, block, num_convs=num_convs, num_blocks=encoder_blocks)
            for channels in (visual_channels, audio_channels)
        )
        self.pyramid = CrossModalPyramid(block, num_levels=num_levels, attention=GlobalAttention)
        self.classify = LanguageClassifier(2 * dim, text_channels, hidden=head_dim)
        out_channels = {
            name: 2 * (1 if task.class_agnostic else self.num_classes[name])
            for name, task in self.tasks.items()
        }
        self.regress = TaskRegression(2 * dim, out_channels, hidden=head_dim)
        self.scales = nn.Parameter(torch.ones(num_levels))
        self.text = nn.Module()
        self._needed_files: set[str] = set()
        self._read_text(text_channels)
        self.assigner = RangeAssigner() if assigner is None else assigner
        self.assigner.check_fits(self.pyramid.strides)
        self.criteria = nn.ModuleDict({name: task.criterion for name, task in self.tasks.items()})
        self.decodings = {name: task.decoding for name, task in self.tasks.items()}

    @property
    def given_tables(self) -> set[str]:
        """The buffers that were read from files: of what they hold a checkpoint knows nothing."""
        return {f"text.{name}" for name, task in self.tasks.items() if task.text != RANDOM}

    def _read_text(self, text_channels: int) -> None:
        """The tables become buffers: a checkpoint holds them, and needs their files no more."""
        for name, task in self.tasks.items():
            shape = self.num_classes[name], text_channels
            if task.text == RANDOM:
                log.warning(
                    "task %s: no text table is given (model.tasks.%s.text); random rows stand for "
                    "the names of its classes, which say nothing of them", name, name,
                )  # fmt: skip
            elif not Path(task.text).is_file():
                self._needed_files.add(task.text)
                self.text.register_buffer(name, torch.zeros(shape))
                continue
            self.text.register_buffer(name, text_table(task.text, *shape, name))

    def encode(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each modality on its own, in the task at hand: (B, T, C) → (B, T, D), 0 in padding."""
        return self.visual_encoder(visual, mask), self.audio_encoder(audio, mask)

    def forward(
        self, visual: Tensor, audio: Tensor, mask: Tensor, task: str | None = None
    ) -> PointOutputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1.

        Args:
            task: whose experts and classes answer; a net of one task always answers in that one.

        Raises:
            LocoError: a text table was never read; there is no such task.
        """
        task = self.choice.task = self._known(task)
        if self._needed_files:
            missing = ", ".join(sorted(self._needed_files))
            raise LocoError(f"model.tasks.….text: expected a text table, there is none: {missing}")
        visual, audio = self.encode(visual, audio, mask)
        levels = self.pyramid(visual, audio, mask)
        names = self.classify.names(self.text.get_buffer(task))
        logits, offsets = [], []
        for (x, level_mask), scale in zip(levels, self.scales, strict=True):
            logits.append(self.classify(x, level_mask, names))
            distances = functional.relu(self.regress(x, level_mask, task) * scale)
            offsets.append(distances.unflatten(2, (-1, 2)).expand(-1, -1, len(names), -1))
        points = self.assigner.points(mask.shape[1], self.pyramid.strides, mask.device)
        point_mask = torch.cat([level_mask for _, level_mask in levels], 1)
        return PointOutputs(torch.cat(logits, 1), torch.cat(offsets, 1), point_mask, points)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What to minimise is the sum of the entries named `loss_…`; the others are to look at."""
        task = self._known(batch.task)
        outputs = self(batch.visual, batch.audio, batch.mask, task)
        losses = point_losses(
            outputs, batch, self.assigner, self.criteria[task], self.num_classes[task]
        )
        return losses | {"classifier/scale": self.classify.log_scale.detach().exp()}

    def detect(self, batch: Batch) -> list[Events]:
        """Events of each video, by descending score."""
        task = self._known(batch.task)
        outputs = self(batch.visual, batch.audio, batch.mask, task)
        return self.decodings[task](*outputs, durations=batch.durations, grid=batch.grid)

    def _known(self, task: str | None) -> str:
        if len(self.tasks) == 1:
            return next(iter(self.tasks))
        if task not in self.tasks:
            raise LocoError(f"expected a task among {', '.join(self.tasks)}, got {task!r}")
        return task

    def _load_from_state_dict(
        self, state: Mapping[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Tables that a checkpoint holds need not be read from their files."""
        super()._load_from_state_dict(state, prefix, *rest)
        self._needed_files -= {
            task.text for name, task in self.tasks.items() if f"{prefix}text.{name}" in state
        }


def _classes_by_task(num_classes: int | Mapping[str, int], tasks: list[str]) -> dict[str, int]:
    """K by task, checked."""
    for name in tasks:
        if not name.isidentifier():
            raise ValueError(f"the name of a task must be a plain word, got {name!r}")
    if not tasks:
        raise ValueError("tasks must not be empty")
    if not isinstance(num_classes, Mapping):
        check_number("num_classes", num_classes, 1, whole=True)
        if len(tasks) > 1:
            raise ValueError(
                f"{len(tasks)} tasks ({', '.join(tasks)}) need a data set each, one is given: "
                "name one task in model.tasks, or train with data=synthetic_tasks or the like"
            )
        return {tasks[0]: num_classes}
    if set(num_classes) != set(tasks):
        raise ValueError(
            f"the model's tasks are {', '.join(tasks)}, the data's {', '.join(num_classes)}"
        )
    return {name: num_classes[name] for name in tasks}
