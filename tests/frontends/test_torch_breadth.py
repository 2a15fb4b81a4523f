"""Functions and modules of PyTorch beyond the common ones, against the graphs traced from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from frontends.torch_models import Lambda, check, example, told
from graphopt.frontends import trace
from graphopt.ir import Batch

IMAGE = (4, 8, 8)
TABLE = torch.rand(10, 8, generator=torch.Generator().manual_seed(0))
PLACES = torch.tensor([[3, -1], [0, 2]])


def positive(x: torch.Tensor) -> torch.Tensor:
    return x.abs() + 0.5


def places(x: torch.Tensor, size: int) -> torch.Tensor:
    """Positions computed from data."""
    return (x.abs() * 1000).long() % size


ELEMENTWISE: dict[str, Callable[[torch.Tensor], Any]] = {
    "trigonometry": lambda x: x.sin() + x.cos() + (x / 2).tan() + x.atan() + (x / 3).asin() + (x / 3).acos(),
    "hyperbolic": lambda x: x.sinh() + x.cosh() + x.asinh() + (positive(x) + 1).acosh() + (x / 3).atanh(),
    "logarithms": lambda x: positive(x).log() + positive(x).log2() + positive(x).log10() + positive(x).log1p(),
    "small": lambda x: (x * 1e-4).log1p() + (x * 1e-4).expm1(),
    "expm1": torch.expm1,
    "exp2": torch.exp2,
    "erf": torch.erf,
    "rounding": lambda x: x.floor() + x.ceil() * 2 + x.round() * 4 + x.trunc() * 8 + x.sign() * 16 + x.frac(),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "elu": lambda x: F.elu(x, 0.5),
    "selu_celu": lambda x: F.selu(x) + F.celu(x, 2.0),
    "softplus": lambda x: F.softplus(x) + F.softplus(x, 2.0),
    "mish": F.mish,
    "log_sigmoid": F.logsigmoid,
    "softsign": lambda x: F.softsign(x) + F.tanhshrink(x),
    "shrinks": lambda x: F.hardshrink(x) + F.softshrink(x),
    "threshold": lambda x: F.threshold(x, 0.5, 0.0) + F.threshold(x, 0.5, -3.0),
    "comparisons": lambda x: (x > 0).float() + (x <= 0.5) * 2 + (x == x) * 4 + (x != 1) * 8 + x.lt(x * 2) + x.ge(0.1),
    "logic": lambda x: torch.where((x > 0) & (x < 1) | ~(x > -1) ^ (x > 3), x, -x),
    "logical": lambda x: (
        torch.logical_and(x > 0, x < 1).float() + torch.logical_not(x > 0) + (x.int().logical_or(x > 0))
    ),
    "bits": lambda x: ((x * 10).int() & 6) + ((x * 10).int() | 1) + ((x * 10).int() ^ 3) + ((x * 10).int() << 1),
    "casts": lambda x: (x * 3).long().float() + x.bool().float() + (x * 3).to(torch.int8).to(torch.float32),
    "double": lambda x: (x.double() * 2).float(),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1.5),
    "where_scalar": lambda x: torch.where(x > 0, x, 0.5) + torch.where(x > 1, 2.0, x),
    "clamp_tensor": lambda x: torch.clamp(x, x.mean(1, True) - 0.5, x.mean(1, True) + 0.5),
    "fmod": lambda x: torch.fmod(x, 0.75) + torch.remainder(x, 0.75) + torch.remainder(x, -0.5),
    "integers": lambda x: (((x * 10).int() // 3) + ((x * 10).int() % 3) + torch.fmod((x * 10).int(), 3)).float(),
    "floor_divide": lambda x: (x * 4) // 3 + torch.div(x, 0.3, rounding_mode="trunc"),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, positive(x), value=2),
    "lerp": lambda x: torch.lerp(x, -x, 0.25) + torch.lerp(x, x * 2, x.sigmoid()),
    "nan_to_num": lambda x: torch.nan_to_num((x - x) / (x - x)) + x.isnan() + (x / 0 == x).float() + x.isfinite(),
    "hypot": lambda x: torch.hypot(x, x + 1) + torch.logaddexp(x, -x),
}

INDEXING: dict[str, Callable[[torch.Tensor], Any]] = {
    "index_select": lambda x: x.index_select(2, torch.tensor([5, 1, 1])),
    "index": lambda x: x[:, :, PLACES],
    "index_two": lambda x: x[:, :, PLACES, PLACES.T],
    "index_computed": lambda x: TABLE[places(x, 10)],
    "embedding": lambda x: F.embedding(places(x[:, 0], 10), TABLE),
    "gather": lambda x: x.gather(2, places(x, 8)),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(-1), -1),
    "scatter": lambda x: (
        torch.zeros_like(x).scatter(1, places(x[:, :1], 4), x[:, :1]) + x.scatter(1, places(x[:, :1], 4), 7.0)
    ),
    "scatter_add": lambda x: x.scatter_add(1, places(x, 4), x),
    "topk": lambda x: x.topk(3, -1).values + x.topk(3, -1, largest=False).values,
    "topk_indices": lambda x: x.topk(2, 1).indices,
    "sort": lambda x: x.sort(-1).values + x.sort(1, descending=True).values,
    "flip": lambda x: x.flip(1, -1),
    "roll": lambda x: x.roll((1, -3), (1, 2)) + x[:, :, 0].roll(2, 1).unsqueeze(2),
    "triangles": lambda x: x.tril() + x.triu(1) * 2,
    "repeat_interleave": lambda x: x.repeat_interleave(3, 1),
    "unfold": lambda x: x.unfold(2, 3, 2),
    "one_hot": lambda x: F.one_hot(places(x[:, 0, 0], 8), 8),
    "cumulative": lambda x: x.cumsum(-1) + x.cumprod(1),
    "movedim": lambda x: x.movedim(1, -1).tile(1, 2, 1, 1),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "meshgrid": lambda x: x + torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")[0],
    "factories": lambda x: x + torch.full((8,), 2.0) + torch.ones(x.shape[0], 4, 8, 8) + x.new_zeros(x.shape),
    "full_like": lambda x: torch.full_like(x, 3.0) * x + torch.eye(8) + torch.arange(0, 4, 0.5),
    "index_add": lambda x: x.index_add(1, torch.tensor([0, 2]), x[:, :2]),
    "index_put": lambda x: torch.zeros(8, 4).index_put((PLACES, PLACES), x[:, 0, :2, :2].sum(0), accumulate=True),
}

REDUCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "extremes": lambda x: x.amin(1) + x.max(1).values + x.min(2).values.sum() * 0 + x.amax((1, 2, 3), True)[:, 0],
    "args": lambda x: x.argmax(1) + x.argmin(1, keepdim=True)[:, 0] * 10 + x.argmax(),
    "max_index": lambda x: x.max(1).indices,
    "prod": lambda x: x.prod(1) + x.prod(),
    "var": lambda x: x.var((2, 3)) + x.var(1, unbiased=False).sum((1, 2)).unsqueeze(1) + x.std(-1).mean(2),
    "var_mean": lambda x: torch.var_mean(x, 1, correction=0),
    "norms": lambda x: (
        x.norm(dim=1) + x.norm(p=1, dim=1) + torch.linalg.vector_norm(x, 3, 1) + x.norm(p=float("inf"), dim=1)
    ),
    "normalize": lambda x: F.normalize(x, dim=1),
    "cosine": lambda x: F.cosine_similarity(x, x + 1, 1),
    "any_all": lambda x: (x > 1).any(1).float() + (x > -1).all(1) * 2,
    "logsumexp": lambda x: x.logsumexp(-1) + F.log_softmax(x, 1).sum(-1) + F.softmin(x, 1).sum(-1),
    "layer_norm": lambda x: F.layer_norm(x, (8, 8)),
    "rms_norm": lambda x: F.rms_norm(x, (8,), torch.linspace(0.5, 1, 8), 1e-6),
    "instance_norm": lambda x: F.instance_norm(x),
    "einsum": lambda x: torch.einsum("bchw,bcwv->bhv", x, x) + torch.einsum("bchw,cd->bhd", x, torch.ones(4, 8)),
    "baddbmm": lambda x: (
        torch.baddbmm(x[:, 0], x[:, 1], x[:, 2], beta=0.5, alpha=2) + torch.addmm(x[0, 0], x[0, 1], x[0, 2])
    ),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 0.5, x + 1),
    "attention_causal": lambda x: F.scaled_dot_product_attention(x, x * 0.5, x + 1, is_causal=True, scale=0.7),
    "attention_mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(8, 8).tril() > 0),
    "attention_runtime_mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :1] > -1.9),
    "attention_hidden_row": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(8, 8).tril(-1) > 0),
    "attention_hidden_all": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :1] > 1.5),
    "attention_added_mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x),
    "attention_grouped": lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, 2:], enable_gqa=True),
}

RESIZING: dict[str, Callable[[torch.Tensor], Any]] = {
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear_aligned": lambda x: F.interpolate(x, size=(5, 13), mode="bilinear", align_corners=True),
    "bilinear_down": lambda x: F.interpolate(x, scale_factor=0.6, mode="bilinear", antialias=True),
    "bicubic": lambda x: F.interpolate(x, size=(11, 8), mode="bicubic"),
    "linear": lambda x: F.interpolate(x[:, 0], scale_factor=1.7, mode="linear"),
    "trilinear": lambda x: F.interpolate(x[:, None], size=(2, 5, 11), mode="trilinear"),
    "nearest_odd": lambda x: F.interpolate(x, size=(11, 5)),
    "reflect": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate") + F.pad(x, (2, 1, 1, 2), mode="circular"),
    "adaptive_uneven": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, (4, 2)),
    "adaptive_avg3d": lambda x: F.adaptive_avg_pool3d(x[:, None], (2, 4, 1)),
    "pools3d": lambda x: F.max_pool3d(x[:, None], 2) + F.avg_pool3d(x[:, None], 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "fold": lambda x: F.unfold(x, 3, padding=1),
}


class Attention(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.settings = settings

    def forward(self, x: torch.Tensor) -> Any:
        return self.attention(x, x, x, **self.settings)[0]


MASK = nn.Transformer.generate_square_subsequent_mask(6)
STEPS = (6, 8)
MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "prelu": (nn.PReLU(4, 0.3), IMAGE),
    "rrelu": (nn.RReLU(), IMAGE),
    "layer_norm": (nn.LayerNorm(8), IMAGE),
    "group_norm": (nn.GroupNorm(2, 4), IMAGE),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), IMAGE),
    "local_response": (nn.LocalResponseNorm(3), IMAGE),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 3, 4, 3)),
    "lstm": (nn.LSTM(8, 5, batch_first=True), STEPS),
    "lstm_deep": (nn.LSTM(8, 5, 2, batch_first=True, bidirectional=True), STEPS),
    "gru": (nn.GRU(8, 5, batch_first=True, bias=False), STEPS),
    "gru_deep": (nn.GRU(8, 5, 2, batch_first=True, bidirectional=True), STEPS),
    "rnn": (nn.RNN(8, 5, batch_first=True), STEPS),
    "rnn_relu": (nn.RNN(8, 5, batch_first=True, nonlinearity="relu"), STEPS),
    "lstm_cell": (nn.LSTMCell(8, 5), (8,)),
    "gru_cell": (nn.GRUCell(8, 5), (8,)),
    "attention": (Attention(), STEPS),
    "attention_causal": (Attention(attn_mask=MASK, is_causal=True, need_weights=False), STEPS),
    "attention_masked": (Attention(attn_mask=MASK < -1), STEPS),
    "encoder": (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), STEPS),
    "encoder_first": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu"),
        STEPS,
    ),
}


FIXED = {"baddbmm", "take_along_dim"}
"""The functions that torch.export, or what they do with the first element of the batch, holds to a fixed batch."""
FUNCTIONS = {**ELEMENTWISE, **INDEXING, **REDUCTIONS, **RESIZING}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = Lambda(FUNCTIONS[name])
    graph = trace(model, example(IMAGE))
    assert graph.is_symbolic == (not told(caplog)) == (name not in FIXED)
    check(graph, model, IMAGE, batches=(1, 3) if graph.is_symbolic else (1,))


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, shape = MODULES[name]
    graph = trace(model, example(shape))
    assert graph.inputs[0].type.shape[0] == Batch() and not told(caplog)
    check(graph, model, shape)
