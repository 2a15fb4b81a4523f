"""Stored graphs made to do harm, and texts of graphs that are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save as save_tensors

from graphopt.storage import MAX_TEXT

HUGE = 1 << 40
"""Elements that no machine has room for, and that 64 bits can count."""


def stored(text: str, tensors: dict[str, Any] | None = None, versions: dict[str, int] | None = None) -> bytes:
    versions = versions or {"relu": 1, "input": 1, "constant": 1, "expand": 1, "fused": 1, "conv": 1, "clip": 1}
    metadata = {"format": "graphopt", "version": "1", "operators": json.dumps(versions), "graph": text}
    return save_tensors(tensors or {"0" * 16: np.zeros(1, np.float32)} if tensors else {}, metadata)


def texts() -> dict[str, str]:
    """Texts of graphs that are none."""
    head, tail = "graph g(%x: float32[2]) {\n  ", "\n  return y: %y\n}"

    def statement(text: str) -> str:
        return head + text + tail

    relu = "%y = relu(%x) : float32[2]"
    bodies = "graph b(%x: float32[2]) { return y: %x }"
    for _ in range(3000):
        bodies = f"graph b(%x: float32[2]) {{ %y = fused(%x) {{body = {bodies}}} : float32[2] return y: %y }}"
    return {
        "empty": "",
        "brackets": statement("%y = expand(%x) {shape = " + "(" * 100_000 + "} : float32[2]"),
        "square_brackets": statement("%y = constant " + "[" * 100_000 + " : float32[2]"),
        "graphs": statement("%y = fused(%x) {body = " + bodies + "} : float32[2]"),
        "unclosed": "graph g(%x: float32[2]) {",
        "quotes": statement('%y = relu(%"' + "\\" * 1001),
        "bad_escape": statement('%"\\q" = relu(%x) : float32[2]'),
        "single_quotes": statement("%'y' = relu(%x) : float32[2]"),
        "digits": statement("%y = clip(%x) {low = " + "9" * 10_000 + "} : float32[2]"),
        "result_of_many_digits": statement("%y = relu(%x#" + "9" * 10_000 + ") : float32[2]"),
        "result_negative": statement("%y = relu(%x#-1) : float32[2]"),
        "dimension_of_many_digits": statement("%y = relu(%x) : float32[" + "9" * 10_000 + "]"),
        "dimension_text": statement("%y = relu(%x) : float32['a']"),
        "dimension_infinite": "graph g(%x: float32[inf*N]) { return y: %x }",
        "dimension_zero_n": "graph g(%x: float32[0*N]) { return y: %x }",
        "dimension_huge": f"graph g(%x: float32[{HUGE}, {HUGE}]) {{ return y: %x }}",
        "ranks": f"graph g(%x: float32[{', '.join('1' * 100)}]) {{ return y: %x }}",
        "batch_from_nowhere": "graph g(%x: float32[1]) { %y = expand(%x) {shape = (N,)} : float32[N] return y: %y }",
        "tokens": "graph " * 200_000,
        "more_tokens": statement("%y = expand(%x) {shape = " + "(" * (MAX_TEXT - 200) + "} : float32[2]"),
        "many_dimensions": statement("%y = expand(%x) {shape = (" + "1," * (MAX_TEXT // 2 - 100) + ")} : float32[2]"),
        "many_nodes": head + "".join(f"%y{i}=relu(%x):float32[2]\n" for i in range(MAX_TEXT // 30)) + tail,
        "nodes_enough": head + "".join(f"%y{i}=relu(%x):float32[2]\n" for i in range(35_000)) + tail,
        "long": " " * (MAX_TEXT + 1),
        "no_operands": statement("%y = relu : float32[2]"),
        "many_operands": statement("%y = relu(%x, %x, %x) : float32[2]"),
        "attribute_text": statement('%y = clip(%x) {low = "a"} : float32[2]'),
        "attribute_unknown": statement("%y = clip(%x) {lo = 1.0} : float32[2]"),
        "attribute_call": statement("%y = clip(%x) {low = open('a')} : float32[2]"),
        "attribute_dunder": statement("%y = clip(%x) {__class__ = 1.0} : float32[2]"),
        "attribute_tuple": statement("%y = clip(%x) {low = (1.0, 2.0)} : float32[2]"),
        "strides_text": statement("%y = conv(%x, %x, %x) {strides = ('a',)} : float32[2]"),
        "operator_unknown": statement("%y = system(%x) : float32[2]"),
        "operator_class": statement("%y = __class__(%x) : float32[2]"),
        "input_inside": statement("%y = input {type = float32[2]} : float32[2]"),
        "constant_missing": statement("%y = constant @0123456789abcdef : float32[2]"),
        "constant_ragged": statement("%y = constant [[1.0], [1.0, 2.0]] : float32[2]"),
        "constant_of_another_size": statement("%y = constant [1.0] : float32[2]"),
        "constant_text": statement("%y = constant 'a' : float32[2]"),
        "constant_huge": statement(f"%y = constant [1.0] : float32[{HUGE}]"),
        "constant_past_its_type": statement("%y = constant [1e400, 9e99] : int8[2]"),
        "names_twice": statement(f"{relu}\n  {relu}"),
        "used_before": statement("%y = relu(%z) : float32[2]"),
        "outputs_twice": head + relu + "\n  return y: %y, y: %y\n}",
        "type_lies": statement("%y = relu(%x) : float32[3]"),
        "dtype_unknown": statement("%y = relu(%x) : object[2]"),
        "after_the_end": statement(relu) + "\nimport os",
    }
