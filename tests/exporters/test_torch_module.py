"""The module that a graph becomes: its parameters and their names, training, quantisation, and the way back."""

from __future__ import annotations

import copy
from pathlib import Path

import models
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import REGISTRY, Array, Batch, Constant, Graph, Op, TensorType, Value, arg, constant, worst_difference
from graphopt.ops import (
    Add,
    BatchNorm,
    Binarize,
    Cast,
    Concat,
    Conv,
    Dequantize,
    Fused,
    Identity,
    Linear,
    MaxPool,
    Mul,
    Pad,
    Quantize,
    Relu,
    Sub,
    Transpose,
)
from graphopt.passes import Fuse


def weights(*shape: int, name: str = "", seed: int = 0) -> Value:
    return constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), name)


def constants(graph: Graph) -> dict[str, Array]:
    return {graph.names[n]: n.op.value for n in graph.nodes if isinstance(n.op, Constant)}


def net() -> Graph:
    """A convolution, a batch norm, a layer read twice, a scale and an epsilon."""
    x = arg("x", "float32", (Batch(), 3, 4, 4))
    y = Conv()(x, weights(4, 3, 1, 1, name="conv.weight"), weights(4, name="conv.bias"), name="conv")
    mean, var = constant(np.full(4, 0.5, np.float32), "bn.mean"), constant(np.full(4, 2, np.float32), "bn.var")
    y = BatchNorm()(y, weights(4, name="bn.scale"), weights(4, name="bn.bias", seed=1), mean, var, name="bn")
    shared, bias = weights(4, 4, name="twice.weight"), weights(4, name="twice.bias")
    y = Linear()(Relu()(Linear()(y, shared, bias)), shared, bias)
    y = Mul()(y, weights(4, 1, 1, name="scale"))
    return Graph((x,), (Add()(y, constant(np.float32(1e-3), "epsilon")),), name="net")


def test_parameters_and_buffers_by_the_names_of_nodes() -> None:
    module = graphopt.to_torch(net())
    assert {n for n, _ in module.named_parameters()} == {
        *("conv.weight", "conv.bias", "bn.scale", "bn.bias", "twice.weight", "twice.bias", "scale")
    }
    assert {n for n, _ in module.named_buffers()} == {"bn.mean", "bn.var", "epsilon"}
    for name, data in constants(net()).items():
        np.testing.assert_array_equal(module.state_dict()[name], data)


def test_names_that_torch_does_not_allow() -> None:
    names = ["a", "a.b", "training", "forward", "plan", "a..b", ".", "x.training", 'a "b"', "x y/z", "0", "0.weight"]
    x = arg("x", "float32", (2,))
    y: Value = x
    for i, name in enumerate([*names, "", ""]):
        y = Add()(y, constant(np.full(2, i, np.float32), name))
    graph = Graph((x,), (y,))
    module = graphopt.to_torch(graph)
    assert len(dict(module.named_parameters())) == len(names) + 2
    assert {"a", "x y/z", "0", 'a "b"'} <= {n for n, _ in module.named_parameters()}
    for name, data in constants(graph).items():
        np.testing.assert_array_equal(module.tensor((name,)).detach(), data)
    np.testing.assert_array_equal(module(torch.zeros(2)).detach(), graph(np.zeros(2, np.float32))[0])


def test_masks_with_infinities_are_buffers() -> None:
    x = arg("x", "float32", (2,))
    graph = Graph((x,), (Add()(x, constant(np.array([0, -np.inf], np.float32), "mask")),))
    assert [n for n, _ in graphopt.to_torch(graph).named_buffers()] == ["mask"]


@pytest.mark.parametrize("make", [lambda: models.mobilenet_v2(0.35, 10), lambda: models.resnet18(10)])
def test_gradients_are_those_of_the_model_that_was_traced(make: object) -> None:
    model = make().double()  # type: ignore[operator]
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = graphopt.to_torch(graphopt.trace(model, (x,)))
    for m in (model, module):
        F.cross_entropy(m(x), torch.tensor([1, 3])).backward()
    ours = dict(module.named_parameters())
    for name, p in model.named_parameters():
        scale = p.grad.abs().max()
        assert (ours[name].grad - p.grad).abs().max() <= 1e-9 * scale, name


def test_gradients_of_recurrent_layers_are_those_of_torch() -> None:
    class Net(nn.Module):
        def __init__(self, kind: type[nn.RNNBase]) -> None:
            super().__init__()
            self.layer = kind(3, 4, num_layers=2, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)[0]
            return y

    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        torch.manual_seed(0)
        model = Net(kind).double().eval()
        x = torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)
        module = graphopt.to_torch(graphopt.trace(model, (x.detach(),)))
        wanted, got = (torch.autograd.grad(m(x).square().sum(), x)[0] for m in (model, module))
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


def test_the_module_can_be_traced_again() -> None:
    graph = net()
    again = graphopt.trace(graphopt.to_torch(graph), (torch.rand(2, 3, 4, 4),))
    assert again.is_symbolic
    x = np.random.default_rng(0).standard_normal((3, 3, 4, 4)).astype(np.float32)
    assert worst_difference(again(x)[0], graph(x)[0]) <= 1e-6
    layers = [[n.op.name for n in g.nodes if isinstance(n.op, Conv | BatchNorm | Linear)] for g in (graph, again)]
    assert layers[0] == layers[1]


def test_training_comes_back() -> None:
    graph = net()
    module = graphopt.to_torch(graph)
    unchanged = graphopt.with_parameters(graph, module)
    assert all(a is b for a, b in zip(constants(unchanged).values(), constants(graph).values(), strict=True))
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before = module(x).square().mean()
    before.backward()
    optimizer.step()
    assert float(module(x).square().mean()) < float(before)
    module.epsilon.fill_(0.5)
    back = graphopt.with_parameters(graph, module)
    graphopt.verify(back)
    np.testing.assert_allclose(back(x.numpy())[0], module(x).detach(), rtol=1e-5, atol=1e-6)
    assert list(back.names.values()) == list(graph.names.values())
    assert [n.origins for n in back.nodes] == [n.origins for n in graph.nodes]
    changed = {n for n, a in constants(back).items() if not np.array_equal(a, constants(graph)[n])}
    assert changed == {*constants(graph)} - {"bn.mean", "bn.var"}


def test_parameters_of_another_graph_are_refused() -> None:
    module = graphopt.to_torch(net())
    x = arg("x", "float32", (2,))
    with pytest.raises(InvalidInput, match=r"bias: the module has no parameter"):
        graphopt.with_parameters(Graph((x,), (Add()(x, weights(2, name="bias")),)), module)
    with pytest.raises(InvalidInput, match=r"scale: the module has float32\[4, 1, 1\], the graph float32\[2\]"):
        graphopt.with_parameters(Graph((x,), (Add()(x, weights(2, name="scale")),)), module)


def test_constants_inside_fused_nodes_and_operands_of_them() -> None:
    x = arg("x", "float32", (Batch(), 2))
    inner, mean, var = arg("x", "float32", (Batch(), 2)), arg("mean", "float32", (2,)), arg("var", "float32", (2,))
    y = BatchNorm()(Mul()(inner, weights(2, name="w")), weights(2, name="s"), weights(2, name="b"), mean, var)
    fused = Fused(body=Graph((inner, mean, var), (y,)))
    m, v = constant(np.zeros(2, np.float32), "m"), constant(np.ones(2, np.float32), "v")
    graph = Graph((x,), (fused(x, m, v, name="f"),))
    module = graphopt.to_torch(graph)
    assert {n for n, _ in module.named_parameters()} == {"f.w", "f.s", "f.b"}
    assert {n for n, _ in module.named_buffers()} == {"m", "v"}
    with torch.no_grad():
        module.get_parameter("f.w").fill_(3)
    back = graphopt.with_parameters(graph, module)
    data = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    np.testing.assert_allclose(back(data)[0], module(torch.from_numpy(data)).detach(), rtol=1e-5, atol=1e-6)
    assert not np.allclose(back(data)[0], graph(data)[0])
    module.train()(torch.from_numpy(data))
    assert float(module.m.abs().max()) > 0  # the statistics of a fused batch norm are followed, too


def test_fused_graphs_are_trained_as_such() -> None:
    graph = Fuse()(net())
    assert any(isinstance(n.op, Fused) for n in graph.nodes)
    module = graphopt.to_torch(graph)
    module(torch.ones(2, 3, 4, 4)).sum().backward()
    assert {n for n, p in module.named_parameters() if p.grad is not None} == {
        *("conv.weight", "conv.bias", "bn.scale", "bn.bias", "twice.weight", "twice.bias", "scale")
    }


class Shifted(Op):
    """x + w + 1: a decomposition that folds what is constant."""

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0]

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0] + inputs[1] + inputs[1].dtype.type(1))

    def decompose(self, *inputs: Value) -> tuple[Value, ...] | None:
        x, w = inputs
        one = np.ones(x.type.static_shape[-1:], x.type.dtype)
        known = w.constant
        return (Add()(x, constant(known + one) if known is not None else Add()(w, constant(one, "one"))),)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_an_operator_is_decomposed_without_computing_with_what_can_change(dtype: str) -> None:
    class Op_(Shifted, name="shifted"):  # noqa: N801
        pass

    try:
        x, w = arg("x", dtype, (2, 3)), constant(np.arange(3).astype(dtype), "w")
        graph = Graph((x,), (Op_()(x, w, name="y"),))
        module = graphopt.to_torch(graph)
        data = np.ones((2, 3), dtype)
        np.testing.assert_array_equal(module.evaluate([data])[0], graph(data)[0])
        assert list(module.state_dict()) == ["w"]
        with torch.no_grad():
            module.tensor(("w",)).fill_(7)
        np.testing.assert_array_equal(module.evaluate([data])[0], np.full((2, 3), 9))
        if dtype == "float32":
            assert [n for n, _ in module.named_parameters()] == ["w"]
            module(torch.from_numpy(data)).sum().backward()
            np.testing.assert_array_equal(module.get_parameter("w").grad, [2, 2, 2])
    finally:
        del REGISTRY["shifted"]


def test_a_decomposition_that_must_know_integers_does() -> None:
    class Wanting(Shifted, name="wanting"):
        def decompose(self, *inputs: Value) -> tuple[Value, ...] | None:
            return None if inputs[1].constant is None else super().decompose(*inputs)

    try:
        for dtype in ("int32", "float32"):
            x, w = arg("x", dtype, (2, 3)), constant(np.arange(3).astype(dtype), "w")
            graph = Graph((x,), (Wanting()(x, w, name="y"),))
            if dtype == "float32":
                with pytest.raises(graphopt.GraphoptError, match=r"y \(wanting\)"):
                    graphopt.to_torch(graph)
                continue
            data = np.ones((2, 3), dtype)
            np.testing.assert_array_equal(graphopt.to_torch(graph).evaluate([data])[0], graph(data)[0])
    finally:
        del REGISTRY["wanting"]


def test_batch_norm_trains_as_that_of_torch() -> None:
    layer = nn.BatchNorm2d(3)
    x = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 5
    module = graphopt.to_torch(graphopt.trace(copy.deepcopy(layer).eval(), (x,)))
    assert not module.training
    torch.testing.assert_close(module(x), layer.eval()(x))
    torch.testing.assert_close(module.train()(x), layer.train()(x))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(module.state_dict()[name], layer.state_dict()[name])
    torch.testing.assert_close(module.eval()(x), layer.eval()(x))


def test_deep_graphs_are_no_harder() -> None:
    y = x = arg("x", "float32", (2,))
    for _ in range(5000):
        y = Identity()(y)
    module = copy.deepcopy(graphopt.to_torch(Graph((x,), (y,))))
    data = torch.ones(2, requires_grad=True)
    module(data).sum().backward()
    np.testing.assert_array_equal(data.grad, [1, 1])


def test_copies_and_saved_parameters_stand_alone(tmp_path: Path) -> None:
    module = graphopt.to_torch(net())
    twin = copy.deepcopy(module)
    x = torch.ones(1, 3, 4, 4)
    with torch.no_grad():
        twin.get_parameter("scale").zero_()
    assert float(module(x).detach().abs().max()) > 0.01 > float(twin(x).detach().abs().max())
    torch.save(module.state_dict(), tmp_path / "state.pt")
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(twin(x), module(x))


SCALE, ZERO = constant(np.float32(0.25), "s"), constant(np.int8(-3), "z")
X = torch.tensor([[-100.0, -1.3, 0.125, 0.375], [0.4, 2.0, 31.0, 100.0]])
INSIDE = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]])


def quantized(x: Value) -> Value:
    return Quantize()(x, SCALE, ZERO)


def test_quantisation_passes_gradients_straight_through() -> None:
    x = arg("x", "float32", (2, 4))
    moved = Transpose(perm=(1, 0))(Relu()(Pad(pads=(0, 0, 0, 1), value=5.0)(Identity()(quantized(x)))))
    joined = Concat(axis=1)(moved, constant(np.full((5, 1), 7, np.int8)))
    graph = Graph((x,), (Dequantize()(joined, SCALE, ZERO), joined), ("y", "q"))
    module = graphopt.to_torch(graph)
    data = X.clone().requires_grad_()
    y, q = module(data)
    for got, want in zip((y, q), graph(X.numpy()), strict=True):
        assert str(got.dtype) == f"torch.{want.dtype}"
        np.testing.assert_array_equal(got.detach(), want)
    y.sum().backward()
    # relu of the stored integers stops what is below zero there
    stored = torch.from_numpy(np.clip(np.rint(X.numpy() / 0.25) - 3, -128, 127))
    np.testing.assert_array_equal(data.grad, INSIDE * (stored > 0))


def test_the_gradient_of_a_scale_is_that_of_lsq() -> None:
    x, s = arg("x", "float64", (2, 4)), arg("s", "float64", ())
    zero = constant(np.int8(-3))
    graph = Graph((x, s), (Dequantize()(Quantize()(x, s, zero), s, zero),))
    scale = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    graphopt.to_torch(graph)(X.double(), scale).sum().backward()
    steps = X.double() / 0.25
    inside = (steps.round() - steps)[INSIDE.bool()].sum()
    assert float(scale.grad) == pytest.approx(float(inside + (-128 + 3) + (127 + 3)), rel=1e-12)


def test_signs_pass_gradients_where_rounding_to_them_would() -> None:
    x, s = arg("x", "float32", (2, 4)), arg("s", "float32", ())
    module = graphopt.to_torch(Graph((x, s), (Binarize()(x, s),)))
    data, scale = X.clone().requires_grad_(), torch.tensor(0.25, requires_grad=True)
    (module(data, scale) * torch.arange(8.0).reshape(2, 4)).sum().backward()
    inside = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(data.grad, inside * torch.arange(8.0).reshape(2, 4))
    assert float(scale.grad) == float((X.sign() * torch.arange(8.0).reshape(2, 4)).sum())


def test_what_computes_with_quantised_numbers_gets_integers() -> None:
    x = arg("x", "float32", (1, 1, 2, 4))
    pooled = MaxPool(kernel=(1, 2), pads=(0, 1, 0, 1), dilations=(1, 2))
    wide = Cast(to="int32")(quantized(x))
    sums = Mul()(Sub()(wide, constant(np.int32(-3))), constant(np.int32(1 << 26)))
    low = Add()(quantized(x), constant(np.int8(100)))
    graph = Graph((x,), (sums, low, pooled(quantized(x)), MaxPool(kernel=(1, 2))(quantized(x))))
    for got, want in zip(graphopt.to_torch(graph)(X[None, None]), graph(X[None, None].numpy()), strict=True):
        np.testing.assert_array_equal(got, want)


def test_uint16_is_carried_too() -> None:
    x, zero = arg("x", "float32", (2, 4)), constant(np.uint16(40_000))
    q = Quantize()(x, constant(np.float32(1e-3)), zero)
    graph = Graph((x,), (q, Dequantize()(q, constant(np.float32(1e-3)), zero), Add()(q, q)))
    data = X.clone().requires_grad_()
    outputs = graphopt.to_torch(graph)(data)
    for got, want in zip(outputs, graph(X.numpy()), strict=True):
        np.testing.assert_array_equal(got.detach(), want)
    outputs[1].sum().backward()
    assert data.grad.sum() == 5  # of the others the steps do not fit


def test_under_autocast_half_floats_are_taken_and_no_others() -> None:
    """Fabric narrows the arguments of a module to half; a wider float than the graph's is refused as ever."""
    module = graphopt.to_torch(net())
    x = torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x.bfloat16()).shape == module(x).shape
        with pytest.raises(InvalidInput, match="float64"):
            module(x.double())
    with pytest.raises(InvalidInput, match="bfloat16"):
        module(x.bfloat16())
