"""A trained net as a file that runs without this suite: torch.export's `.pt2`, or `.onnx`.

Features in, what is said at the points of all levels out. A file takes videos of N steps, any
number at once; a shorter one is filled up, and the mask says which steps are real. What reading the
outputs needs (class names, time grid, levels, thresholds) stands in the file as JSON, `notes.json`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from loco import __version__
from loco.errors import LocoError
from loco.files import replacing
from loco.runs.checkpoints import find_checkpoint, load_module
from loco.training.module import LocalizationModule

Form = Literal["torch", "onnx"]
ENDINGS: dict[Form, str] = {"torch": ".pt2", "onnx": ".onnx"}
INPUTS = ("visual", "audio", "mask")
OUTPUTS = ("logits", "offsets", "point_mask", "points")
NOTES = "notes.json"
TOLERANCE = 1e-4
"""How far the file's outputs may lie from the net's on the same input, relative to the largest."""


class PointNet(nn.Module):
    """A detector's net alone, its outputs a plain tuple: (logits, offsets, mask, points).

    Where points rate their segments, the rating is in the logits, as it is in scores (`Decoding`).
    A net of one modality (`data.modality`) reads zeros in place of the other.
    """

    def __init__(self, detector: nn.Module, modality: str = "both") -> None:
        super().__init__()
        self.detector = detector
        self.modality = modality

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Features (B, N, C_visual) and (B, N, C_audio), mask (B, N)."""
        if self.modality == "audio":
            visual = torch.zeros_like(visual)
        if self.modality == "visual":
            audio = torch.zeros_like(audio)
        said = self.detector(visual, audio, mask)
        logits = said.logits
        if said.quality is not None:
            decoding: Any = self.detector.decoding
            score = decoding.probability(said.logits, said.quality)
            logits = torch.logit(score, eps=torch.finfo(torch.float32).eps)
        return logits, said.offsets, said.mask, said.points


def export_net(
    run: str | Path, file: Path, form: Form, steps: int | None = None, trust: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the net of a checkpoint, or of a run's folder its best one; returns the notes in it.

    What is written was read back and answers as the net does, on noise of three lengths.

    Args:
        run: the checkpoint or the folder.
        file: what is written, `.pt2` or `.onnx` by its form.
        form: torch.export's program, or ONNX.
        steps: N, the longest video that it takes; None is the length of the training's crops.
        trust: packages besides this suite whose classes the checkpoint may name.

    Raises:
        LocoError: the net does not speak of points, cannot be traced, or answers otherwise.
    """
    source = find_checkpoint(run, best=True, setting="run")
    module = load_module(source, trust)
    count = int(steps or module.hparams["data"].get("max_length") or 256)
    net = PointNet(module.detector, module.hparams["data"].get("modality", "both")).eval()
    inputs = _inputs(module, count)
    name = type(module.detector).__name__
    outputs = _outputs(net, inputs, name)
    notes = _notes(module, source, count, outputs[3])
    write = _write_torch if form == "torch" else _write_onnx
    what = f"{name} cannot be exported to {form}"
    with _quiet(), _naming(what), replacing(file) as unfinished:
        named = unfinished.with_name(f"{unfinished.name}{ENDINGS[form]}")  # torch asks for it
        batch = {0: torch.export.Dim.DYNAMIC}
        program = torch.export.export(net, inputs, dynamic_shapes=(batch,) * 3, strict=False)
        try:
            answers = write(program, named, json.dumps(notes, ensure_ascii=False))
            _check(answers, outputs, inputs, what)
            named.replace(unfinished)
        finally:
            named.unlink(missing_ok=True)
    return notes


def _inputs(module: LocalizationModule, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three videos of noise: of all steps, of two thirds of them, and of a single one."""
    generator = torch.Generator().manual_seed(0)
    visual, audio = (
        torch.randn(3, steps, module.hparams[f"{name}_channels"], generator=generator)
        for name in ("visual", "audio")
    )
    mask = torch.ones(3, steps, dtype=torch.bool)
    mask[1, max(2 * steps // 3, 1) :] = False
    mask[2, 1:] = False
    return visual, audio, mask


@torch.no_grad()
def _outputs(net: PointNet, inputs: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    try:
        return net(*inputs)
    except (AttributeError, TypeError) as error:
        raise LocoError(
            f"{name} is not exported: it says nothing of the points of a pyramid (logits, offsets, "
            f"mask, points), which whoever reads the file would decode ({error})"
        ) from None


def _notes(module: LocalizationModule, source: Path, steps: int, points: Tensor) -> dict[str, Any]:
    """What reading the outputs needs; plain values."""
    layout = module.hparams["data"]["layout"]
    strides, sizes = points[:, 3].unique_consecutive(return_counts=True)
    detector: Any = module.detector
    by_task = getattr(detector, "decodings", {}).values()  # a net that answers here has one task
    decoding = getattr(detector, "decoding", None) or next(iter(by_task), None)
    return {
        "format": 1,
        "loco": __version__,
        "source": source.name,
        "detector": type(detector).__name__,
        "class_names": list(module.class_names),
        "grid": {key: layout[key] for key in ("fps", "window", "stride")},
        "steps": steps,
        "visual_channels": module.hparams["visual_channels"],
        "audio_channels": module.hparams["audio_channels"],
        "inputs": list(INPUTS),
        "outputs": list(OUTPUTS),
        "levels": [
            {"stride": int(stride), "points": int(size)}
            for stride, size in zip(strides, sizes, strict=True)
        ],
        "decoding": asdict(decoding) if is_dataclass(decoding) else {},  # type: ignore[arg-type]
    }


Answers = Callable[[tuple[Tensor, ...]], Sequence[Tensor]]


def _write_torch(program: torch.export.ExportedProgram, file: Path, notes: str) -> Answers:
    torch.export.save(program, file, extra_files={NOTES: notes})
    read = torch.export.load(file).module()
    return lambda inputs: read(*inputs)


def _write_onnx(program: torch.export.ExportedProgram, file: Path, notes: str) -> Answers:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  the exporter needs it
    except ImportError as error:
        raise LocoError(
            f"--format onnx needs {error.name}: pip install '.[export]' in loco's checkout"
        ) from None
    made = torch.onnx.export(
        program, input_names=INPUTS, output_names=OUTPUTS, dynamo=True, verbose=False
    )
    assert made is not None
    made.model.metadata_props[NOTES] = notes
    made.save(str(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def answer(inputs: tuple[Tensor, ...]) -> list[Tensor]:
        fed = {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)}
        return [torch.from_numpy(x) for x in session.run(list(OUTPUTS), fed)]

    return answer


def _check(
    answers: Answers, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], what: str
) -> None:
    """Refuse a file that answers otherwise than the net where the mask says that it counts."""
    with torch.no_grad():
        read = answers(inputs)
    real = outputs[2]
    if not torch.equal(read[2], real) or not torch.equal(read[3], outputs[3]):
        raise LocoError(f"{what}: the file has other points than the net")
    for output, theirs, ours in zip(OUTPUTS[:2], read[:2], outputs[:2], strict=True):
        gap = (theirs[real] - ours[real]).abs().max().item()
        if not gap <= TOLERANCE * max(ours[real].abs().max().item(), 1.0):
            raise LocoError(f"{what}: the file's {output} differ from the net's by {gap:.2g}")


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Make a line of whatever tracing a stranger's net raises."""
    try:
        yield
    except (LocoError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise LocoError(f"{what}: {type(error).__name__}: {reason[:200]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporters tell their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
