"""Every constructor checks its own numbers: a wrong one is an error of a line, from Python too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from loco.data.datamodule import AVDataModule
from loco.data.dataset import RandomCrop
from loco.data.feature_mixup import FeatureMixup
from loco.data.features import FeatureLayout
from loco.data.mismatch import Mismatch
from loco.data.modality_dropout import ModalityDropout
from loco.data.sampler import LengthBatchSampler
from loco.data.synthetic.config import SyntheticConfig
from loco.data.temporal_resize import TemporalResize
from loco.data.turns import Turns
from loco.detection.center_sampling import CenterAssigner
from loco.detection.decoding import Decoding
from loco.detection.heads import ConvHead
from loco.detection.losses import DetectionLoss
from loco.detection.nms import hard_nms, soft_nms
from loco.detection.suppression import Suppression, Voting
from loco.detection.task_aligned import TaskAlignedAssigner
from loco.detectors.actionformer import ActionFormer
from loco.detectors.loco.cdp import CrossModalDynamicPerception
from loco.detectors.loco.correspondence import (
    CorrespondenceLoss,
    GaussianTarget,
    SoftenedTarget,
)
from loco.detectors.loco.detector import LoCo
from loco.detectors.loco.pairs import PairRule
from loco.detectors.tadtr.actionness import Actionness
from loco.detectors.tadtr.detector import TadTR
from loco.detectors.tadtr.losses import SetLoss
from loco.detectors.tadtr.matching import Matcher
from loco.detectors.tridet.detector import TriDet
from loco.detectors.unav.detector import UnAV
from loco.detectors.uniav.detector import UniAV
from loco.detectors.vsgn.decoding import BoxDecoding
from loco.detectors.vsgn.detector import VSGN
from loco.detectors.vsgn.losses import BoxLoss
from loco.detectors.vsgn.stitching import SelfStitch
from loco.errors import LocoError, check_number
from loco.evaluation.metrics import DetectionMAP
from loco.nn.attention import FixedWindowAttention, GlobalAttention
from loco.nn.blocks import BlockFactory, TransformerBlock
from loco.nn.encoder import UnimodalEncoder
from loco.nn.gradient_balance import GradientBalance
from loco.nn.layers import MaskedConv1d, ScaledDropPath
from loco.reporting.report import RunReport
from loco.reporting.wandb_logging import WandbMedia
from loco.structures import TimeGrid
from loco.training.callbacks import WeightEMA
from loco.training.optim import AdamW

NEVER: tuple[Any, ...] = (math.nan, math.inf, -math.inf, True, "3", [1])
"""What is no number of any setting; None is, of some."""

LAYOUT = FeatureLayout(["{id}_v.npy"], ["{id}_a.npy"], 25, 24, 8)
CANDIDATES = (torch.rand(2, 2), torch.rand(2), torch.zeros(2, dtype=torch.long))
WHOLE = (0, -1, 1.5)  # of counts from 1
COUNT = (-1, 0.5)  # of counts from 0
LAYERS, BLOCKS = (*WHOLE, 2**70), (*COUNT, 2**70)  # what would be built for ever
PART = (-0.1, 1.1)
CHANNELS = {"visual_channels": WHOLE, "audio_channels": WHOLE, "num_classes": WHOLE}
SMALL = {"visual_channels": 3, "audio_channels": 2, "num_classes": 2}

CASES: dict[str, tuple[Callable[..., Any], dict[str, tuple[Any, ...]]]] = {
    "grid": (
        partial(TimeGrid, fps=25, window=24, stride=8),
        {"fps": (0, -1), "window": (0, -1), "stride": (0, -1)},
    ),
    "mismatch": (Mismatch, {"broken": PART, "pasted": PART}),
    "modality dropout": (ModalityDropout, {"probability": PART}),
    "temporal resize": (
        TemporalResize, {"probability": PART, "shortest": (0, 2), "longest": (0.5,)}
    ),
    "feature mixup": (FeatureMixup, {"probability": PART, "least": (-0.1, 0.6)}),
    "balance": (GradientBalance, {"target": (0, -1), "momentum": (-0.1, 1), "until": PART}),
    "pairs": (PairRule, {"near": PART, "pull": (0, 1)}),
    "conv": (partial(MaskedConv1d, 4, 4), {"kernel": (0, 2, -1, 1.5), "stride": WHOLE}),
    "drop path": (
        partial(ScaledDropPath, dim=4, rate=0.1, scale=0.1), {"rate": (-0.1, 1), "scale": ()}
    ),
    "block": (
        partial(TransformerBlock, dim=4, heads=2),
        {"dim": WHOLE, "heads": (*WHOLE, 3), "stride": WHOLE, "drop_path": (-0.1, 1)},
    ),
    "blocks": (
        partial(BlockFactory, 4, 2, drop_path=0.1),
        {"drop_path": (-0.1, 1), "layer_scale": ()},
    ),
    "encoder": (
        partial(UnimodalEncoder, 3, BlockFactory(4, 2), num_convs=1, num_blocks=1),
        {"num_convs": LAYERS, "num_blocks": BLOCKS},
    ),
    "attention": (partial(GlobalAttention, dim=4, heads=2), {"heads": (*WHOLE, 3), "dim": WHOLE}),
    "windows": (partial(FixedWindowAttention, dim=4, heads=2), {"window_size": WHOLE}),
    "cdp": (
        partial(CrossModalDynamicPerception, dim=4, heads=2),
        {"window_size": WHOLE, "heads": (*WHOLE, 3), "stride": WHOLE},
    ),
    "head": (partial(ConvHead, 4, 3), {"num_convs": LAYERS, "hidden": WHOLE}),
    "decoding": (
        Decoding,
        {
            "score_threshold": PART, "top_k": WHOLE, "min_length": (-1,), "sigma": (0, -1),
            "iou_threshold": PART, "min_score": PART, "max_segments": WHOLE,
        },
    ),
    "criterion": (
        DetectionLoss,
        {"alpha": PART, "gamma": (-1,), "normalizer": (0, -1), "momentum": (-0.1, 1)},
    ),
    "soft nms": (
        partial(soft_nms, *CANDIDATES),
        {"sigma": (0, -1), "min_score": (-1,), "max_segments": WHOLE},
    ),
    "hard nms": (
        partial(hard_nms, *CANDIDATES, iou_threshold=0.5),
        {"iou_threshold": PART, "min_score": (-1,), "max_segments": WHOLE},
    ),
    "softened": (SoftenedTarget, {"alpha": (-0.1, 1)}),
    "gaussian": (GaussianTarget, {"sigma": (0, -1)}),
    "correspondence": (
        partial(CorrespondenceLoss, 4),
        {"weight": (-1,), "temperature": (0, 0.001, 0.5, 1, -1)},
    ),
    "loco": (
        partial(LoCo, visual_channels=3, audio_channels=2, num_classes=2, dim=4, heads=2),
        {
            "visual_channels": WHOLE, "audio_channels": WHOLE, "num_classes": WHOLE, "dim": WHOLE,
            "heads": (*WHOLE, 3), "num_convs": LAYERS, "encoder_blocks": BLOCKS,
            "num_levels": LAYERS, "decoder_blocks": BLOCKS, "drop_path": (-0.1, 1),
            "layer_scale": (),
        },
    ),
    "actionformer": (
        partial(ActionFormer, **SMALL, dim=4, heads=2),
        CHANNELS | {
            "dim": WHOLE, "heads": (*WHOLE, 3), "window_size": WHOLE, "num_convs": LAYERS,
            "stem_blocks": BLOCKS, "num_levels": LAYERS, "head_dim": WHOLE,
            "drop_path": (-0.1, 1),
            "layer_scale": (),
        },
    ),
    "centers": (CenterAssigner, {"radius": (0, -1)}),
    "aligned": (TaskAlignedAssigner, {"top": (0, 1.5), "alpha": (-1,), "beta": (-1,)}),
    "suppression": (
        Suppression,
        {"sigma": (0, -1), "iou_threshold": PART, "min_score": PART, "max_segments": WHOLE},
    ),
    "voting": (Voting, {"threshold": (0, *PART)}),
    "tridet": (
        partial(TriDet, **SMALL, dim=16, feed_forward=4),
        CHANNELS | {
            "dim": (*WHOLE, 20), "feed_forward": WHOLE, "kernel": (*WHOLE, 2), "k": (0, -1),
            "init_std": (-1,), "num_convs": LAYERS, "stem_blocks": BLOCKS, "num_levels": LAYERS,
            "bins": WHOLE, "head_dim": WHOLE, "input_noise": (-1,), "drop_path": (-0.1, 1),
            "layer_scale": (),
        },
    ),
    "unav": (
        partial(UnAV, **SMALL, dim=4, heads=2, class_dim=2, head_dim=4),
        CHANNELS | {
            "dim": WHOLE, "heads": (*WHOLE, 3), "num_convs": LAYERS, "encoder_blocks": BLOCKS,
            "num_levels": LAYERS, "class_dim": WHOLE, "head_dim": WHOLE, "drop_path": (-0.1, 1),
            "layer_scale": (),
        },
    ),
    "uniav": (
        partial(UniAV, **SMALL, dim=4, heads=2, head_dim=4, text_channels=4),
        CHANNELS | {
            "dim": WHOLE, "heads": (*WHOLE, 3), "num_convs": LAYERS, "encoder_blocks": BLOCKS,
            "num_levels": LAYERS, "head_dim": WHOLE, "text_channels": WHOLE,
            "drop_path": (-0.1, 1), "layer_scale": (),
        },
    ),
    "tadtr": (
        partial(TadTR, **SMALL, dim=4, heads=2, feed_forward=4, encoder_layers=1, decoder_layers=1),
        CHANNELS | {
            "dim": WHOLE, "heads": (*WHOLE, 3), "encoder_layers": BLOCKS, "decoder_layers": LAYERS,
            "encoder_points": WHOLE, "decoder_points": WHOLE, "feed_forward": WHOLE,
            "num_queries": WHOLE, "dropout": (-0.1, 1),
        },
    ),
    "actionness": (partial(Actionness, 4), {"bins": WHOLE, "scale": (0, -1)}),
    "matcher": (
        Matcher,
        {
            "class_weight": (-1,), "distance_weight": (-1,), "iou_weight": (-1,), "alpha": PART,
            "gamma": (-1,),
        },
    ),
    "set loss": (
        SetLoss,
        {
            "class_weight": (-1,), "distance_weight": (-1,), "iou_weight": (-1,),
            "actionness_weight": (-1,), "alpha": PART, "gamma": (-1,),
        },
    ),
    "vsgn": (
        partial(VSGN, **SMALL, dim=4),
        CHANNELS | {
            "length": (*WHOLE, 100), "dim": WHOLE, "num_levels": LAYERS, "stem_stride": WHOLE,
            "neighbours": COUNT, "head_convs": BLOCKS,
        },
    ),
    "stitch": (SelfStitch, {"short": (-0.1, 1), "clip": PART, "gap": COUNT}),
    "box loss": (
        BoxLoss,
        {
            "iou_threshold": (0, *PART), "adjusted_threshold": (0, *PART), "class_weight": (-1,),
            "box_weight": (-1,), "frame_weight": (-1,), "adjusted_weight": (-1,), "alpha": PART,
            "gamma": (-1,),
        },
    ),
    "boxes": (BoxDecoding, {"score_threshold": PART, "sigma": (0, -1), "min_score": PART}),
    "turns": (
        partial(Turns, ["avel"]),
        {"gain": (-1,), "fall": (-1,), "patience": WHOLE, "every": WHOLE, "cooldown": COUNT},
    ),
    "optimizer": (
        AdamW, {"lr": (-1,), "weight_decay": (-1,), "warmup_epochs": (-1,)}
    ),
    "average": (WeightEMA, {"decay": (-0.1, 1)}),
    "data": (
        partial(AVDataModule, "features", None, LAYOUT),
        {
            "batch_size": WHOLE, "eval_batch_size": WHOLE, "num_workers": COUNT,
            "max_length": WHOLE, "max_length_difference": COUNT, "pool_batches": WHOLE,
            "seed": COUNT,
        },
    ),
    "crop": (
        partial(RandomCrop, 8, (0.9, 1.0), 0),
        {"min_inside": PART, "trials": WHOLE},
    ),
    "sampler": (
        partial(LengthBatchSampler, lambda epoch: np.ones(4), batch_size=2, training=True),
        {
            "batch_size": WHOLE, "seed": COUNT, "num_replicas": WHOLE, "rank": (-1, 1, 0.5),
            "pool_batches": WHOLE,
        },
    ),
    "metric": (DetectionMAP, {"num_classes": WHOLE}),
    "synthetic": (
        SyntheticConfig,
        {
            "num_classes": (1, -1, 2.5), "seed": COUNT, "difficulty": (-1,),
            "frequency_exponent": (-1,), "alike": PART, "latent_dim": WHOLE, "drift": (-1,),
            "drift_dim": WHOLE, "lag_seconds": (-1,), "offscreen_per_video": (-1,),
            "silent_per_video": (-1,), "overhang": PART, "uneven": PART,
        },
    ),
    "report": (RunReport, {"videos": COUNT}),
    "pictures": (
        WandbMedia, {"num_videos": COUNT, "every_n_validations": WHOLE, "min_score": PART}
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, (_, names) in CASES.items() for name in names]
)
def test_a_wrong_number_is_an_error_of_a_line(case: str, name: str) -> None:
    make, names = CASES[case]
    for value in (*names[name], *NEVER):
        with pytest.raises((ValueError, LocoError)) as caught:
            make(**{name: value})
        assert "\n" not in str(caught.value), value
        assert type(caught.value) in (ValueError, LocoError)


@pytest.mark.parametrize("case", [c for c in CASES if c != "metric"])
def test_right_numbers_are_taken(case: str) -> None:
    CASES[case][0]()


@pytest.mark.parametrize("ratio", [(0, 1), (0.9, 1.1), (1, 0.9), (math.nan, 1), ("a", 1), (0.9,)])
def test_crop_ratio(ratio: Any) -> None:
    with pytest.raises(ValueError, match="crop_ratio must be"):
        AVDataModule("features", None, LAYOUT, crop_ratio=ratio)


@pytest.mark.parametrize("streams", [(2,), (2, 0), (2, -1), (1.5, 2), (math.nan, 2), 256])
def test_channels_of_the_streams(streams: Any) -> None:
    with pytest.raises(ValueError, match="streams must be"):
        ActionFormer(**SMALL, dim=4, heads=2, streams=streams)


@pytest.mark.parametrize("scales", [(), (0,), (3, -1), (math.nan,)])
def test_scales_of_anchors(scales: Any) -> None:
    with pytest.raises(ValueError, match="scales must be"):
        VSGN(**SMALL, dim=4, scales=scales)


def test_ranges() -> None:
    check_number("x", np.float32(0.5), 0, 1)
    check_number("x", np.int64(3), 1, whole=True)
    check_number("x", -1e300)
    for value, limits, expected in (
        (0, {"low": 0, "without": "low"}, "positive"),
        (2, {"low": 0, "high": 1}, "in [0, 1]"),
        (1, {"low": 0, "high": 1, "without": "low high"}, "in (0, 1)"),
        (0, {"low": 1, "whole": True}, "at least 1 and whole"),
        (math.nan, {}, "a number"),
    ):
        with pytest.raises(ValueError, match="x must be") as caught:
            check_number("x", value, **limits)  # type: ignore[arg-type]
        assert str(caught.value) == f"x must be {expected}, got {value!r}"
