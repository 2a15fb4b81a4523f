"""How to draw the operators of several steps, most of which ONNX defines by others: attention, windows, losses."""

from __future__ import annotations

from graphopt.testing.onnx_files.drawing import FileDrawing
from graphopt.testing.onnx_files.table import draws


@draws("Attention")
def attention(f: FileDrawing, op: str) -> object:
    """Heads apart, of four axes; fewer heads of keys and values, a causal mask, a scale."""
    heads, shared = f.choice(((1, 1), (2, 1), (2, 2), (4, 2)))
    size, queries, keys = f.integer(1, 4), f.integer(1, 4), f.integer(1, 4)
    q = f.tensor(f.numbers((f.batch, heads, queries, size)), 0)
    k, v = (f.tensor(f.numbers((f.batch, shared, keys, size))) for _ in range(2))
    causal = f.some(is_causal=1) if queries == keys else {}
    return f.node(op, [q, k, v], **causal, **f.some(scale=0.5))


@draws("RotaryEmbedding")
def rotary(f: FileDrawing, op: str) -> object:
    heads, steps, half = f.integer(1, 3), f.integer(1, 4), f.integer(1, 3)
    x = f.tensor(f.numbers((f.batch, heads, steps, 2 * half)), 0)
    tables = [f.tensor(f.numbers((f.batch, steps, half))) for _ in range(2)]
    return f.node(op, [x, *tables], **f.some(interleaved=f.integer(0, 1)))


@draws("HannWindow", "HammingWindow", "BlackmanWindow")
def window(f: FileDrawing, op: str) -> object:
    size = f.integer(2, 7)
    (y,) = f.node(op, [f.constant(size, "int64")], **f.some(periodic=f.integer(0, 1)))
    return f.node("Mul", [f.tensor(f.numbers((f.batch, size)), 0), y])


@draws("AffineGrid")
def affine_grid(f: FileDrawing, op: str) -> object:
    axes = f.choice((2, 3))
    theta = f.tensor(f.numbers((f.batch, axes, axes + 1)), 0)
    sizes = [f.batch, 1, *(f.integer(2, 4) for _ in range(axes))]
    return f.node(op, [theta, f.constant(sizes, "int64")], **f.some(align_corners=f.integer(0, 1)))


@draws("STFT")
def short_transform(f: FileDrawing, op: str) -> object:
    signal = f.tensor(f.numbers((f.batch, f.integer(8, 12), 1)), 0)
    size = f.choice((4, 6))
    shape = f.constant(f.numbers((size,)))
    return f.node(op, [signal, f.constant(f.integer(1, 3), "int64"), shape], **f.some(onesided=1))


@draws("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def loss(f: FileDrawing, op: str) -> object:
    classes = f.integer(2, 4)
    more = f.shape(0, 2)
    x = f.tensor(f.numbers((f.batch, classes, *more)), 0)
    labels = f.tensor(f.numbers((f.batch, *more), "int64", 0, classes - 1))
    weights = [f.constant(f.numbers((classes,), low=0.2))] if f.chance(40) else []
    return f.node(op, [x, labels, *weights], **f.some(reduction=f.choice(["mean", "sum", "none"])))
