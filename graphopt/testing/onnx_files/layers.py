"""How to draw reductions, products, convolutions, poolings, normalizations, recurrent and quantized layers."""

from __future__ import annotations

from typing import Any

from graphopt.testing.onnx_files.drawing import FileDrawing, Undrawn
from graphopt.testing.onnx_files.moves import settings
from graphopt.testing.onnx_files.table import draws

INPUTS_SINCE = {"ReduceSum": 13}
"""The opset in which the axes of a reduction became an input; of all others it is 18."""


@draws(
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)
def reduction(f: FileDrawing, op: str) -> object:
    exact = op in ("ReduceMax", "ReduceMin")
    dtype = "int32" if exact and f.opset >= 12 and f.chance(30) else "float32"
    low = 0.2 if op == "ReduceLogSum" else -2
    x = f.operand(dtype=dtype, low=low)
    keep = f.some(keepdims=f.integer(0, 1))
    rank = f.array(x).ndim
    if not rank or f.chance(25):
        return f.node(op, [x], exact=exact, **keep)
    inputs, attributes = settings(f, "axes", f.axes(rank), INPUTS_SINCE.get(op, 18))
    return f.node(op, [x, *inputs], exact=exact, **keep, **attributes)


@draws("ArgMax", "ArgMin")
def place(f: FileDrawing, op: str) -> object:
    x = f.operand(1, exact=True)
    last = f.some(select_last_index=f.integer(0, 1)) if f.opset >= 12 else {}
    return f.node(op, [x], exact=True, **f.some(axis=f.axis(f.array(x).ndim), keepdims=f.integer(0, 1)), **last)


@draws("CumSum")
def cumulative(f: FileDrawing, op: str) -> object:
    x = f.operand(1, dtype=f.choice(("float32", "int32")))
    axis = f.constant(f.axis(f.array(x).ndim), "int64")
    return f.node(op, [x, axis], **f.some(exclusive=f.integer(0, 1), reverse=f.integer(0, 1)))


@draws("Softmax", "LogSoftmax", "Hardmax")
def softmax(f: FileDrawing, op: str) -> object:
    x = f.operand(1, exact=op == "Hardmax", low=-9, high=9)
    return f.node(op, [x], exact=op == "Hardmax", **f.some(axis=f.axis(f.array(x).ndim)))


@draws("MatMul")
def matmul(f: FileDrawing, op: str) -> object:
    x = f.operand(1)
    shape = f.array(x).shape
    other = f.choice([(shape[-1],), (shape[-1], f.size()), (*shape[:-2], shape[-1], f.size())])
    return f.node(op, [x, f.tensor(f.numbers(other), 50)])


@draws("Gemm")
def gemm(f: FileDrawing, op: str) -> object:
    m, k, n = f.size(), f.size(), f.size()
    flip = f.integer(0, 1), f.integer(0, 1)
    a = f.tensor(f.numbers((k, m) if flip[0] else (m, k)), 0)
    b = f.tensor(f.numbers((n, k) if flip[1] else (k, n)), 60)
    c = f.tensor(f.numbers(f.choice([(n,), (1, n), (m, n), (m, 1), ()])), 60)
    without = f.opset >= 11 and f.chance(20)
    factors = f.some(alpha=0.5, beta=1.5)
    return f.node(op, [a, b] if without else [a, b, c], transA=flip[0], transB=flip[1], **factors)


@draws("Einsum")
def einsum(f: FileDrawing, op: str) -> object:
    sizes = {letter: f.size() for letter in "bijk"}
    equation = f.choice(["bij,bjk->bik", "ij,kj->ik", "bij->bji", "bij,bij->b", "ii->i", "bij->", "i,j->ij", "ij,jk"])
    terms = equation.split("->")[0].split(",")
    return f.node(op, [f.tensor(f.numbers([sizes[a] for a in term])) for term in terms], equation=equation)


def image(f: FileDrawing, channels: int, axes: int, low: int = 1) -> tuple[str, list[int]]:
    """A tensor of batch, channels and spatial axes, and the sizes of these."""
    sizes = [f.integer(low, 7 if axes < 3 else 4) for _ in range(axes)]
    return f.tensor(f.numbers((f.batch, channels, *sizes)), 0), sizes


def window(f: FileDrawing, kernel: list[int], dilate: bool = True) -> dict[str, Any]:
    """Strides, pads or an automatic padding, dilations."""
    axes = len(kernel)
    chosen = f.some(strides=[f.integer(1, 3) for _ in kernel])
    if dilate:
        chosen |= f.some(dilations=[f.integer(1, 2) for _ in kernel])
    if f.chance(30) and "dilations" not in chosen:
        return {**chosen, "auto_pad": f.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])}
    return chosen | f.some(pads=[f.integer(0, kernel[i % axes] - 1) for i in range(2 * axes)])


@draws("Conv", "ConvTranspose")
def conv(f: FileDrawing, op: str) -> object:
    axes, group = f.choice((1, 2, 2, 3)), f.choice((1, 1, 2))
    inner, outer = f.integer(1, 3), f.integer(1, 3)
    x, _ = image(f, inner * group, axes, 3)
    kernel = [f.integer(1, 3) for _ in range(axes)]
    shape = (outer * group, inner) if op == "Conv" else (inner * group, outer)
    weight = f.constant(f.numbers((*shape, *kernel), low=-1, high=1))
    bias = [f.constant(f.numbers((outer * group,)))] if f.chance(60) else []
    how = window(f, kernel)
    if op == "ConvTranspose":
        how = {name: value for name, value in how.items() if name != "auto_pad"}
        how |= {"output_padding": [s - 1 for s in how["strides"]]} if "strides" in how and f.chance(40) else {}
    return f.node(op, [x, weight, *bias], group=group, **f.some(kernel_shape=kernel), **how)


@draws("MaxPool", "AveragePool", "LpPool")
def pool(f: FileDrawing, op: str) -> object:
    axes = f.choice((1, 2, 2, 3))
    x, sizes = image(f, f.integer(1, 3), axes, 3)
    kernel = [f.integer(1, 3) for _ in range(axes)]
    since = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op]
    how = window(f, kernel, f.opset >= since)
    if f.opset >= {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[op] and "auto_pad" not in how:
        how |= f.some(ceil_mode=f.integer(0, 1))
    dilations, pads = how.get("dilations", [1] * axes), how.get("pads", [0] * 2 * axes)
    if any((kernel[i] - 1) * dilations[i] >= sizes[i] + sum(pads[i::axes]) for i in range(axes)):
        raise Undrawn("a window larger than what it moves over, of which ONNX Runtime makes one result")
    how |= f.some(count_include_pad=f.integer(0, 1)) if op == "AveragePool" else {}
    how |= f.some(p=f.integer(1, 3)) if op == "LpPool" else {}
    return f.node(op, [x], exact=op == "MaxPool", kernel_shape=kernel, **how)


@draws("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(f: FileDrawing, op: str) -> object:
    x, _ = image(f, f.integer(1, 3), f.integer(1, 3))
    return f.node(op, [x], exact=op == "GlobalMaxPool", **(f.some(p=f.integer(1, 3)) if op == "GlobalLpPool" else {}))


@draws("BatchNormalization", "InstanceNormalization")
def channel_norm(f: FileDrawing, op: str) -> object:
    channels = f.integer(1, 4)
    x, _ = image(f, channels, f.integer(0 if op == "BatchNormalization" else 1, 3), 2)
    parts = [f.constant(f.numbers((channels,), low=low)) for low in (-2, -2, -2, 0.2)]
    epsilon = f.some(epsilon=0.01)
    return f.node(op, [x, *parts[: 4 if op == "BatchNormalization" else 2]], **epsilon)


@draws("LayerNormalization", "RMSNormalization")
def layer_norm(f: FileDrawing, op: str) -> object:
    x = f.operand(1)
    shape = f.array(x).shape
    axis = f.axis(len(shape))
    parts = [f.constant(f.numbers(shape[axis:]))]
    if op == "LayerNormalization" and f.chance(60):
        parts.append(f.constant(f.numbers(shape[axis:])))
    return f.node(op, [x, *parts], axis=axis, **f.some(epsilon=0.01))


@draws("GroupNormalization")
def group_norm(f: FileDrawing, op: str) -> object:
    groups = f.integer(1, 2)
    channels = groups * f.integer(1, 3)
    x, _ = image(f, channels, f.integer(1, 3), 2)
    size = groups if f.opset < 21 else channels
    parts = [f.constant(f.numbers((size,))) for _ in range(2)]
    return f.node(op, [x, *parts], num_groups=groups, **f.some(epsilon=0.01))


@draws("LRN")
def lrn(f: FileDrawing, op: str) -> object:
    x, _ = image(f, f.integer(1, 5), 2)
    return f.node(op, [x], size=f.choice((1, 3, 5)), **f.some(alpha=0.1, beta=0.5, bias=2.0))


@draws("LpNormalization")
def lp_norm(f: FileDrawing, op: str) -> object:
    x = f.operand(1, low=0.1)
    return f.node(op, [x], **f.some(axis=f.axis(f.array(x).ndim), p=f.integer(1, 2)))


@draws("MeanVarianceNormalization")
def mean_variance(f: FileDrawing, op: str) -> object:
    x, _ = image(f, f.integer(1, 3), 2, 2)
    return f.node(op, [x], **f.some(axes=f.choice([[0, 2, 3], [2, 3], [1, 2, 3]])))


@draws("GridSample")
def grid_sample(f: FileDrawing, op: str) -> object:
    """The places are moved off the middles and edges between elements, where a last digit decides."""
    x, _ = image(f, f.integer(1, 3), 2, 2)
    wanted = f.integer(1, 4), f.integer(1, 4)
    grid = f.constant(f.numbers((f.batch, *wanted, 2), low=-1.3, high=1.3))
    modes = ["bilinear", "nearest", "bicubic"] if f.opset < 20 else ["linear", "nearest", "cubic"]
    padding = f.choice(["zeros", "border", "reflection"])
    return f.node(op, [x, grid], **f.some(mode=f.choice(modes), padding_mode=padding, align_corners=f.integer(0, 1)))


@draws("Col2Im")
def col2im(f: FileDrawing, op: str) -> object:
    kernel, size, channels = (f.integer(1, 2), f.integer(1, 3)), (f.integer(3, 5), f.integer(3, 5)), f.integer(1, 2)
    count = (size[0] - kernel[0] + 1) * (size[1] - kernel[1] + 1)
    x = f.tensor(f.numbers((f.batch, channels * kernel[0] * kernel[1], count)), 0)
    return f.node(op, [x, f.constant(size, "int64"), f.constant(kernel, "int64")])


@draws("DFT")
def dft(f: FileDrawing, op: str) -> object:
    x = f.tensor(f.numbers((f.batch, f.integer(2, 6), 1)), 0)
    return f.node(op, [x], **f.some(onesided=f.integer(0, 1)))


@draws("LSTM", "GRU", "RNN")
def recurrent(f: FileDrawing, op: str) -> object:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    steps, width, hidden = f.integer(1, 4), f.integer(1, 4), f.integer(1, 4)
    direction = f.choice(["forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    x = f.tensor(f.numbers((steps, f.batch, width)), 0)
    w = f.constant(f.numbers((ways, gates * hidden, width), low=-1, high=1))
    r = f.constant(f.numbers((ways, gates * hidden, hidden), low=-1, high=1))
    b = f.constant(f.numbers((ways, 2 * gates * hidden))) if f.chance(60) else ""
    h = f.tensor(f.numbers((ways, f.batch, hidden))) if f.chance(40) else ""
    options: dict[str, Any] = {"linear_before_reset": f.integer(0, 1)} if op == "GRU" else {}
    results = {"LSTM": 3}.get(op, 2)
    return f.node(op, [x, w, r, b, "", h], results, hidden_size=hidden, direction=direction, **options)


def grid(f: FileDrawing) -> float:
    """A step of a quantization: a power of two mostly, so that middles between integers are met."""
    return f.choice((0.25, 0.125, 0.5, 0.03))


@draws("QuantizeLinear")
def quantize(f: FileDrawing, op: str) -> object:
    dtype = f.choice(("uint8", "int8"))
    x = f.operand(low=-9, high=9, exact=True)
    zero = f.constant(f.integer(0, 100), dtype)
    return f.node(op, [x, f.constant(grid(f), "float32"), zero], exact=True)


@draws("DequantizeLinear")
def dequantize(f: FileDrawing, op: str) -> object:
    dtype = f.choice(("uint8", "int8"))
    x = f.operand(dtype=dtype, low=-128, high=255)
    zero = [f.constant(f.integer(0, 100), dtype)] if f.chance(70) else []
    return f.node(op, [x, f.constant(grid(f), "float32"), *zero], exact=True)


@draws("DynamicQuantizeLinear")
def dynamic(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(1, exact=True)], 3)


@draws("MatMulInteger", "ConvInteger")
def whole_product(f: FileDrawing, op: str) -> object:
    """Numbers so small that their sums are small as well."""
    zeros = [f.constant(f.integer(0, 9), "uint8") for _ in range(f.integer(0, 2))]
    if op == "MatMulInteger":
        m, k, n = f.size(), f.size(), f.size()
        x, w = f.numbers((m, k), "uint8", 0, 30), f.numbers((k, n), "uint8", 0, 30)
    else:
        x = f.numbers((f.batch, 2, f.integer(3, 5), 4), "uint8", 0, 30)
        w = f.numbers((f.integer(1, 3), 2, 2, 3), "uint8", 0, 30)
    return f.node(op, [f.tensor(x, 0), f.constant(w), *zeros])


@draws("QLinearMatMul", "QLinearConv")
def quantized_product(f: FileDrawing, op: str) -> object:
    """Steps such that the sum over that of the result is k/odd: exact, and never near the middle of two integers.

    There the integer arithmetic of ``optimize`` rounds up, where ONNX rounds to even.
    """
    if op == "QLinearMatMul":
        m, k, n = f.size(), f.size(), f.size()
        x, w = f.numbers((m, k), "uint8", 0, 255), f.numbers((k, n), "uint8", 100, 150)
    else:
        x = f.numbers((f.batch, 2, f.integer(3, 5), 4), "uint8", 0, 255)
        w = f.numbers((f.integer(1, 3), 2, 2, 3), "uint8", 100, 150)
    first = [f.tensor(x, 0), f.constant(2.0**-6, "float32"), f.constant(f.integer(100, 150), "uint8")]
    second = [f.constant(w), f.constant(2.0**-6, "float32"), f.constant(f.integer(110, 140), "uint8")]
    third = [f.constant(f.choice((513, 971, 2047)) * 2.0**-12, "float32"), f.constant(f.integer(90, 150), "uint8")]
    return f.node(op, [*first, *second, *third])
