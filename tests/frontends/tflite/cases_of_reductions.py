"""Reductions along axes, as models of one operator."""

from __future__ import annotations

from frontends.tflite.case import ALL, BYTES, FLOAT, IMAGE, SAME, SIGNED, Case, ints, k, x

REDUCTIONS: dict[str, Case] = {
    "mean": Case("MEAN", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": False}, ALL),
    "mean_kept": Case("MEAN", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": True}, ALL),
    "mean_channels": Case("MEAN", [IMAGE, k([-1])], "ReducerOptions", {"keepDims": False}, ALL),
    "sum": Case("SUM", [IMAGE, k([2])], "ReducerOptions", {"keepDims": False}, ALL, plain=False),
    "reduce_max": Case("REDUCE_MAX", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": True}, ALL, SAME),
    "reduce_min": Case("REDUCE_MIN", [x(3, 4), k([1])], "ReducerOptions", {}, ALL, SAME),
    "reduce_prod": Case("REDUCE_PROD", [x(3, 4), k([1])], "ReducerOptions", {}, SIGNED),
    "reduce_any": Case(
        "REDUCE_ANY",
        [ints([[True, False], [False, False]], dtype="bool"), k([1])],
        "ReducerOptions",
        {},
        (FLOAT,),
        dtype="bool",
    ),
    "reduce_all": Case(
        "REDUCE_ALL",
        [ints([[True, False], [True, True]], dtype="bool"), k([1])],
        "ReducerOptions",
        {},
        (FLOAT,),
        dtype="bool",
    ),
    "arg_max": Case("ARG_MAX", [x(3, 8), k(1)], "ArgMaxOptions", {"outputType": 2}, BYTES, dtype="int32"),
    "arg_min": Case("ARG_MIN", [x(1, 3, 4, 5), k(-1)], "ArgMinOptions", {"outputType": 4}, BYTES, dtype="int64"),
    "cumsum": Case("CUMSUM", [x(3, 4), k(1)], "CumsumOptions", {"exclusive": True, "reverse": True}, (FLOAT,)),
}
