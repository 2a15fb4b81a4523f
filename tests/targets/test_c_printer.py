"""The C printer: each statement of TIR that it has a rule for, and the refusal of those that it has none for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.errors import Unsupported
from graphopt.targets.codegen_c import print_function
from graphopt.targets.kernels import Built

Write = Callable[[Any, Any], None]


def printed(write: Write, dtype: str = "float32") -> str:
    """The C of a kernel over x [4] of a dtype and the result y [4] in float32."""
    with IRBuilder() as b:
        with builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            x, y = (builder.arg(n, builder.buffer((4,), t)) for n, t in (("x", dtype), ("y", "float32")))
            write(x, y)
        return print_function("net_made_up", Built("made_up", b.get(), ()))


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def branches(x: Any, y: Any) -> None:
    with builder.serial(0, 4) as i, builder.If(x[i] < 2):
        with builder.Then():
            builder.buffer_store(y, x[i], [i])
        with builder.Else():
            builder.buffer_store(y, x[i] * x[i], [i])


def test_an_else_is_printed() -> None:
    body = lines(printed(branches))
    at = body.index("} else {")
    assert body[at - 2 : at + 3] == ["if (x[v] < 2.0f) {", "y[v] = x[v];", "} else {", "y[v] = x[v] * x[v];", "}"]


def test_where_a_loop_ends_is_one_operand() -> None:
    def write(x: Any, y: Any) -> None:
        with builder.serial(0, 4) as i, builder.serial(0, tirx.Select(i < 2, 1, 3)) as k:
            builder.buffer_store(y, x[k], [i])

    assert "for (int32_t v1 = 0; v1 < (v < 2 ? 1 : 3); ++v1) {" in lines(printed(write))


@pytest.mark.parametrize("call", [tirx.call_extern, tirx.call_pure_extern])
def test_a_call_for_its_effect_is_printed(call: Any) -> None:
    body = lines(printed(lambda x, y: builder.evaluate(call("int32", "wait_for", x[0], 3))))
    assert "wait_for(x[0], 3);" in body


def test_a_constant_for_a_statement_does_nothing() -> None:
    assert lines(printed(lambda x, y: builder.evaluate(0)))[1:] == ["{", "(void)x;", "(void)y;", "}"]


def test_a_cast_to_bool_asks_for_zero() -> None:
    text = printed(lambda x, y: builder.buffer_store(y, tirx.Select(tirx.Cast("bool", x[1]), x[0], x[2]), [0]))
    assert "x[1] != 0 ? x[0] : x[2]" in text


def loop_of(kind: Any) -> Write:
    def write(x: Any, y: Any) -> None:
        with kind(0, 4) as i:
            builder.buffer_store(y, x[i], [i])

    return write


def while_loop(x: Any, y: Any) -> None:
    with builder.While(x[0] < 2):
        builder.buffer_store(y, x[0], [0])


def assertion(x: Any, y: Any) -> None:
    with builder.Assert(x[0] < 2, "too big"):
        builder.buffer_store(y, x[0], [0])


def attribute(x: Any, y: Any) -> None:
    with builder.attr(0, "pragma_of_mine", 1):
        builder.buffer_store(y, x[0], [0])


def computed_local(x: Any, y: Any) -> None:
    table = builder.alloc_buffer((4,), "float32", scope="local")
    IRBuilder.name("table", table)
    with builder.serial(0, 4) as i:
        builder.buffer_store(table, x[i], [i])


def shared(x: Any, y: Any) -> None:
    table = builder.alloc_buffer((4,), "float32", scope="shared")
    builder.buffer_store(table, x[0], [0])


def vector(x: Any, y: Any) -> None:
    at = tirx.Ramp(0, 1, 4)
    builder.buffer_store(y, x[at], [at])


def a_let(x: Any, y: Any) -> None:
    v = tirx.Var("v", "float32")
    builder.buffer_store(y, tirx.Let(v, x[0], v * v), [0])


def test_a_local_buffer_with_a_computed_index_is_an_array() -> None:
    body = lines(printed(computed_local))
    assert body[3:-1] == ["float table[4];", "for (int32_t v = 0; v < 4; ++v) {", "table[v] = x[v];", "}"]


def test_addresses_are_taken_of_parameters_and_locals() -> None:
    def write(x: Any, y: Any) -> None:
        pair = builder.alloc_buffer((2,), "float32", scope="local")
        one = builder.alloc_buffer((1,), "float32", scope="local")
        IRBuilder.name("pair", pair), IRBuilder.name("one", one)
        builder.buffer_store(one, x[3], [0])
        builder.buffer_store(pair, one[0], [1])
        builder.evaluate(tirx.call_extern("int32", "f", tirx.address_of(x[2]), tirx.address_of(pair[0])))

    body = lines(printed(write))
    assert "f(&x[2], &pair[0]);" in body and "float pair[2];" in body
    assert "pair[1] = one_0;" in body, "the other one stays in registers"


REFUSED: dict[str, Write] = {
    "While": while_loop,
    "AssertStmt": assertion,
    "AttrStmt": attribute,
    "PARALLEL": loop_of(builder.parallel),
    "VECTORIZED": loop_of(builder.vectorized),
    "scope shared": shared,
    "Ramp": vector,
    "Let": a_let,
    "Evaluate of Add": lambda x, y: builder.evaluate(tirx.Add(x[0], x[1])),
    "clz": lambda x, y: builder.buffer_store(y, tirx.Cast("float32", tirx.clz(tirx.Cast("int32", x[0]))), [0]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_rule_is_refused_with_the_kernel_named(what: str) -> None:
    with pytest.raises(Unsupported, match="kernel net_made_up") as caught:
        printed(REFUSED[what])
    assert what in str(caught.value)


def test_a_dtype_without_a_c_type_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"kernel net_made_up.*float16"):
        printed(lambda x, y: builder.buffer_store(y, tirx.Cast("float32", x[0]), [0]), dtype="float16")
