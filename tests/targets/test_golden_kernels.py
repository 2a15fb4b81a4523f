"""The kernels of known nets to the letter, so that every change of one shows its diff; ``--update-golden`` writes anew.

In C for a microcontroller the text itself, which has no weights in it. For x86-64 a digest of the TIR of each kernel,
by the name of the target and not by that of the machine at hand.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from compiling import in_long_runs
from mlperf import calibration, graphs
from zoo.catalogue import ZOO

import graphopt
from graphopt.ir import Constant, Graph, Node, Value, bind_batch, constant, rebuild
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline
from graphopt.targets import get_target
from graphopt.targets.lowering import lower
from graphopt.testing.pytest_plugin import Golden

WIDTHS = ["float32", "int8"]


def net(shared: Path, name: str, width: str) -> Graph:
    loaded, optimized = graphs(shared, name)
    if width == "float32":
        return optimized
    insert = InsertQuantization(calibration=calibration(shared, name))
    inserted = with_coarse_scales(Pipeline([*default_pipeline()[:-1], insert])(loaded))
    return Pipeline([LowerInteger(), Fuse()])(inserted)


def with_coarse_scales(graph: Graph) -> Graph:
    """Scales in 8 bits: the last bits of what was observed depend on how a machine sums, and stand in the kernels."""

    def coarse(node: Node, inputs: tuple[Value, ...]) -> tuple[Value] | None:
        if not isinstance(node.op, Constant) or not node.name.endswith(".scale"):
            return None
        mantissa, exponent = np.frexp(node.op.value)
        return (constant(np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32), node.name),)

    return rebuild(graph, coarse)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def kernels(graph: Graph, target: str) -> str:
    """A line for each call: its node, its kernel, a digest of that, and where its operands and result are."""
    lowered = lower(bind_batch(graph, 1), get_target(target))
    digests = {
        k: hashlib.sha256(built.function.script().encode()).hexdigest()[:12] for k, built in lowered.kernels.items()
    }
    lines = [
        f"{call.node}: {call.kernel} {digests[call.kernel]} {' '.join(f'{p.kind}:{p.index}' for p in call.arguments)}"
        for call in lowered.calls
    ]
    return "\n".join([*lines, f"workspace {lowered.plan.size}, weights {lowered.constant_bytes}"])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["kws", "resnet8", *in_long_runs("vww", "ad")])
def test_c(name: str, width: str, shared: Path, golden: Golden) -> None:
    source = graphopt.compile(net(shared, name, width), "cortex-m4").files["model.c"].decode()
    golden(f"kernels/{name}-{width}-cortex-m4", source.replace(version("graphopt"), "(version)"))


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["kws", "resnet8", *in_long_runs("vww", "ad")])
def test_tir(name: str, width: str, target: str, shared: Path, golden: Golden) -> None:
    golden(f"kernels/{name}-{width}-{target}", kernels(net(shared, name, width), target))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4"])
def test_all_architectures(target: str, golden: Golden) -> None:
    lines = []
    for name, entry in ZOO.items():
        text = kernels(graphopt.optimize(graphopt.trace(entry.model(), entry.inputs(2))), target)
        lines.append(f"{name} {digest(text)} {text.splitlines()[-1]}")
    golden(f"kernels/architectures-{target}", "\n".join(lines))
