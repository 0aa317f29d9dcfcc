"""PE-AV by a small model that is made here and read from its folder, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loco.errors import VideoError

pytest.importorskip("timm", reason="needs timm and torchvision", exc_type=Exception)
transformers: Any = pytest.importorskip("transformers", reason="needs the extra transformers")
if not hasattr(transformers, "PeAudioVideoModel"):
    pytest.skip("needs a transformers that has PeAudioVideoModel", allow_module_level=True)

from loco.video.encoders.pe_av import PeAvPictures, PeAvSound  # noqa: E402

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
         "num_attention_heads": 2, "head_dim": 16}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Joint space of 24; pictures of 32 × 32, sound at 48 kHz."""
    path = tmp_path_factory.mktemp("pe_av")
    torch.manual_seed(0)
    tower = {
        "model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384",
        "num_classes": 16, "do_pooling": True, "global_pool": "map",
        "model_args": {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2,
                       "ref_feat_shape": [2, 2]},
    }  # fmt: skip
    codec = {"model_type": "dac", "encoder_hidden_size": 4, "hidden_size": 64, "codebook_dim": 8,
             "downsampling_ratios": [2, 8, 10, 12]}  # fmt: skip
    text = {
        "model_type": "modernbert", "hidden_size": 24, "intermediate_size": 32, "vocab_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    }  # fmt: skip
    audio = {"model_type": "pe_audio_encoder", **SMALL, "dac_config": codec}
    video = {"model_type": "pe_video_encoder", **SMALL, "vision_config": tower}
    config = transformers.PeAudioVideoConfig(
        text_config=text, audio_video_config={**SMALL, "audio_config": audio, "video_config": video}
    )
    transformers.PeAudioVideoModel(config).save_pretrained(path)
    prepared = {
        "video_processor": {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3],
                            "image_std": [0.5, 0.6, 0.7]},
        "feature_extractor": {"sampling_rate": 48_000},
    }  # fmt: skip
    (path / "processor_config.json").write_text(json.dumps(prepared))
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Any:
    return transformers.PeAudioVideoModel.from_pretrained(folder, local_files_only=True).eval()


def test_pictures_are_seen_as_by_the_whole_model(folder: Path, whole: Any) -> None:
    encoder = PeAvPictures(folder)
    assert (encoder.size, encoder.every, encoder.channels) == (32, 4, 24)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    seen = encoder.look(pixels)
    assert seen.ndim == 2
    assert len(seen) == 6
    found = encoder.sum_up(np.stack([seen, seen[::-1]]))
    x = pixels / 255 - np.array([0.5, 0.4, 0.3])
    given = torch.tensor(x / np.array([0.5, 0.6, 0.7])).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        out = whole.video_model.video_encoder(pixel_values_videos=given[None])
        expected = whole.video_model.video_head(out.pooler_output)
    np.testing.assert_allclose(found[:1], expected.numpy(), atol=1e-4)
    assert not np.allclose(found[0], found[1], atol=1e-3)  # time has a direction


def test_sound_is_heard_as_by_the_whole_model(folder: Path, whole: Any) -> None:
    encoder = PeAvSound(folder)
    assert (encoder.rate, encoder.channels) == (48_000, 24)
    waves = np.random.default_rng(0).normal(0, 0.1, (2, 46_080)).astype(np.float32)
    with torch.inference_mode():
        expected = whole.audio_model.get_audio_embeds(torch.from_numpy(waves)[:, None])
    np.testing.assert_allclose(encoder.hear(waves), expected.numpy(), atol=1e-4)
    assert encoder.hear(waves[:, :45_000]).shape == (2, 24)  # no whole number of vectors
    assert encoder.identity() == PeAvSound(folder).identity()


def test_what_is_no_such_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"with its config.json \(path=\)"):
        PeAvSound(tmp_path / "gone")
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPModel"]}')
    with pytest.raises(VideoError, match="expected a model of the class PeAudioVideoModel, found"):
        PeAvPictures(tmp_path)
    for path in folder.iterdir():
        if path.name != "processor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(VideoError, match="expected size in one of"):
        PeAvPictures(tmp_path)
    with pytest.raises(ValueError, match="every must be"):
        PeAvPictures(folder, every=0)
