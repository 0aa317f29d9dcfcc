"""Nets as files, through the command: they answer as the net does, whatever reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from helpers import ROOT, compose_config
from loco.cli import main
from loco.runs.checkpoints import build_module, load_module
from loco.structures import TimeGrid

STEPS = 20
CHANNELS = {"visual_channels": 6, "audio_channels": 4}
NAMES = ["狗叫", "a < b", "rain"]


def checkpoint(folder: Path, *overrides: str) -> Path:
    """A checkpoint of a net with random weights; nothing is trained."""
    words = [*overrides, f"data.root={folder}", f"output_dir={folder}"]
    config = OmegaConf.to_container(compose_config("train", words), resolve=True)
    assert isinstance(config, dict)
    kept: dict[str, Any] = {str(k): config[k] for k in ("model", "data")}
    kept |= {**CHANNELS, "class_names": NAMES}
    torch.manual_seed(0)
    module = build_module(kept)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    file = folder / "best.ckpt"
    state = {"state_dict": module.state_dict(), "hyper_parameters": kept}
    torch.save(state | {"epoch": 0, "global_step": 0}, file)
    return file


def video(steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of one video, (1, T, C) each."""
    generator = torch.Generator().manual_seed(seed)
    visual, audio = (torch.randn(1, steps, c, generator=generator) for c in CHANNELS.values())
    return visual, audio


def filled(x: torch.Tensor, value: float) -> torch.Tensor:
    """(1, T, C) → (1, N, C)."""
    return torch.nn.functional.pad(x, (0, 0, 0, STEPS - x.shape[1]), value=value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["model=loco_small", "model.dim=16", "model.heads=2", "model.num_levels=3"],
        ["part=quality", "model.dim=16", "model.heads=2", "model.num_levels=3"],
        ["model=actionformer_small", "model.dim=16", "model.heads=2", "model.num_levels=3",
         "model.window_size=5"],
        ["model=tridet_small", "model.dim=16", "model.num_levels=3", "model.bins=4"],
        ["model=unav_small", "model.dim=16", "model.heads=2", "model.num_levels=3",
         "model.class_dim=4"],
        ["model=uniav_small", "model.dim=16", "model.heads=2", "model.num_levels=3"],
    ],
    ids=lambda overrides: overrides[0],
)  # fmt: skip
@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_a_file_answers_as_the_net(form: str, overrides: list[str], tmp_path: Path) -> None:
    """For videos of several lengths in one file, and whatever stands behind their end."""
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    source = checkpoint(tmp_path, *overrides)
    file = tmp_path / {"torch": "net.pt2", "onnx": "net.onnx"}[form]
    assert main(["export", str(source), "-o", str(file), "--steps", str(STEPS)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", file.name}
    detector = load_module(source).detector
    decoding = getattr(detector, "decoding", None) or next(iter(detector.decodings.values()))
    if form == "torch":
        extra = {"notes.json": ""}
        net = torch.export.load(file, extra_files=extra).module()
        notes = json.loads(extra["notes.json"])
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        notes = json.loads(session.get_modelmeta().custom_metadata_map["notes.json"])

        def net(*inputs: torch.Tensor) -> list[torch.Tensor]:
            fed = dict(zip(notes["inputs"], (x.numpy() for x in inputs), strict=True))
            return [torch.from_numpy(x) for x in session.run(notes["outputs"], fed)]

    assert notes["class_names"] == NAMES
    assert notes["decoding"]["min_length"] == decoding.min_length
    assert notes["grid"] == {"fps": 25, "window": 24, "stride": 8}
    assert [level["stride"] for level in notes["levels"]] == [1, 2, 4]
    assert sum(level["points"] for level in notes["levels"]) == 20 + 10 + 5
    for steps in (1, 2, 7, STEPS):
        visual, audio = video(steps, steps)
        with torch.no_grad():
            alone = detector(visual, audio, torch.ones(1, steps, dtype=torch.bool))
            mask = torch.arange(STEPS)[None] < steps
            for padding in (0.0, float("nan")):
                said = net(filled(visual, padding), filled(audio, padding), mask)
                real = said[2]
                assert real.sum() == alone.mask.sum()
                rated = decoding.probability(alone.logits, alone.quality)
                expected = (alone.logits if alone.quality is None else rated.logit(), alone.offsets)
                for theirs, ours in zip(said[:2], expected, strict=True):
                    torch.testing.assert_close(theirs[real], ours[alone.mask], rtol=1e-4, atol=2e-5)
    together = [
        torch.cat([filled(x, 0.0) for x in of])
        for of in zip(video(20, 1), video(20, 2), strict=True)
    ]
    with torch.no_grad():
        both = net(*together, torch.ones(2, STEPS, dtype=torch.bool))
        single = net(*(x[1:] for x in together), torch.ones(1, STEPS, dtype=torch.bool))
    torch.testing.assert_close(both[0][1:], single[0], rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_the_example_of_the_page_finds_the_best_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    source = checkpoint(
        tmp_path, "model=actionformer_small", "model.dim=16", "model.heads=2", "model.num_levels=2"
    )
    for name in ("net.pt2", "net.onnx"):
        words = ["export", str(source), "-o", str(tmp_path / name), "--steps", str(STEPS)]
        assert main(words) == 0
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "export.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    visual, audio = (x[0].numpy() for x in video(13, 3))
    names: dict[str, Any] = {"visual": visual, "audio": audio}
    exec(blocks[0], names)
    found = load_module(source).detect_arrays(visual, audio, TimeGrid(25, 24, 8), duration=1e6)
    assert names["label"] == found.labels[0]
    assert float(names["scores"].max()) == pytest.approx(float(found.scores[0]), abs=1e-5)
    end = found.segments[0, 1].item()
    assert names["end"] == pytest.approx(end, abs=1e-3)
    logits = names["logits"].numpy()
    exec(blocks[1], names)
    real = names["point_mask"]
    np.testing.assert_allclose(names["logits"][real], logits[real], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=tadtr_small", "model.dim=16", "model.heads=2", "model.feed_forward=16"],
        ["model=vsgn_small", "model.dim=16"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_net_without_points_is_refused(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, file = checkpoint(tmp_path, *overrides), tmp_path / "net.pt2"
    assert main(["export", str(source), "-o", str(file)]) == 1
    error = capsys.readouterr().err
    assert "is not exported: it says nothing of the points of a pyramid" in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]


def test_wrong_words_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["run", "-o", "net.bin"], "expected a name that ends in .pt2 or .onnx"),
        (["run", "-o", "net.pt2", "--format", "onnx"], "expected a name that ends in .onnx"),
        ([str(tmp_path / "none"), "-o", "net.pt2"], "expected a checkpoint or a run's folder"),
    ):
        assert main(["export", *words]) == 1
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "run", "-o", "net.pt2", "--steps", "0"])
    assert "expected a whole number in [1, 100000]" in capsys.readouterr().err
