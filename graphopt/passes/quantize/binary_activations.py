"""Binary activations: which layers read the signs of their input, and the scale of the signs."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence

from graphopt.errors import InvalidInput
from graphopt.ir import Node, QParams, Value, symmetric
from graphopt.ops import Conv, Linear
from graphopt.passes.base import Note
from graphopt.passes.quantize.insert import Partition
from graphopt.passes.quantize.observers import Histogram
from graphopt.passes.quantize.scheme import XNOR, Scheme


def binary_activation_parameters(
    partition: Partition, histograms: Mapping[Value, Histogram], scheme: Scheme, notes: MutableSequence[Note]
) -> dict[Node, QParams]:
    """The one-bit parameters of inputs of which layers read the signs; their scale is the mean of |x|.

    This scale has the least squared error, as in XNOR-Net (Rastegari et al., 2016). A layer that cannot read signs
    although the scheme asks for it reads its input as other layers do, and a note says so.
    """
    names, found = partition.graph.names, dict[Node, QParams]()
    for node, rule in partition.rules.items():
        name = names[node]
        if not rule.weights or not scheme.reads_signs(name):
            continue
        why = refusal(node, histograms)
        if why:
            notes.append(Note("insert-quantization", name, f"its input stays int8: {why}", declined=True))
            continue
        found[node] = symmetric(histograms[node.inputs[0]].mean_magnitude, 1)
        notes.append(Note("insert-quantization", name, f"the signs of its input, times {float(found[node].scale):.6g}"))
    return found


def refusal(node: Node, histograms: Mapping[Value, Histogram]) -> str:
    """Why a layer does not read the signs of its input; empty if it does."""
    x = node.inputs[0]
    if not isinstance(node.op, Conv | Linear):
        return f"{node.op.name} has no form on signs"
    if getattr(node.op, "group", 1) > 1:
        return "a convolution in groups has no form on signs"
    if x not in histograms:
        return "it is constant"
    low, high = histograms[x].low, histograms[x].high
    if low >= 0 or high <= 0:
        return f"it lies in [{low:.3g}, {high:.3g}], of one sign"
    return ""


def refuse_binary_activations(scheme: Scheme, where: str) -> None:
    """Raise ``InvalidInput`` if a scheme has binary activations; for passes that do not support them."""
    if scheme.activations == "binary" or XNOR in scheme.overrides.values():
        advice = "they are for mode static of quantize; take activations of int8"
        raise InvalidInput("no binary activations here", where=where, advice=advice)
