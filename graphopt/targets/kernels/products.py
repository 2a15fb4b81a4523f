"""Integer convolution and matrix product by routines that sum many products of 8 bits at once, pixel by pixel.

What the instruction sets have each for itself is a ``ProductSet``: the routines, how windows reach them, and how
weights are packed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from graphopt.ops import ConvInteger, LinearInteger, StoredForm
from graphopt.rewrite import Decline
from graphopt.targets.instructions import byte_codes, dsp_codes, mve_products, products, thumb_products
from graphopt.targets.instructions.armv6m_products import BY_CHANNEL
from graphopt.targets.instructions.armv7m_products import BY_ELEMENT
from graphopt.targets.instructions.armv7m_rows import CROSSED
from graphopt.targets.instructions.pixels import FLIPPED_BY
from graphopt.targets.kernels.base import (
    Kernel,
    Task,
    kernel_rule,
    kernel_variant,
)
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.depthwise_planes import depthwise_by_planes
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.mve_depthwise import depthwise_by_vectors
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.narrow import narrow_by_pairs
from graphopt.targets.kernels.planar import planar_by_pairs
from graphopt.targets.kernels.product_kernels import convolved, multiplied, or_in_less_room
from graphopt.targets.kernels.product_loops import GroupProducts, WholeProducts
from graphopt.targets.kernels.product_sets import Codes, ProductSet
from graphopt.targets.kernels.row_windows import expanded_windows, gathered_windows, windows_of_bytes
from graphopt.targets.kernels.thumb_depthwise import depthwise_by_elements
from graphopt.targets.weights import expect_whole

CODES = {
    form: Codes(unpack, partial(dsp_codes.coded, form=form), dsp_codes.BEYOND)
    for form, unpack in dsp_codes.UNPACK.items()
}


def by_pairs(form: products.Form) -> ProductSet:
    """The products of cores that multiply two pairs of 16 bits at once."""
    found = ProductSet(
        form.routines,
        GroupProducts,
        partial(expanded_windows, form=form),
        form.stream,
        depthwise_by_pairs,
        planar_by_pairs,
        narrow_by_pairs,
        form.bits,
        form.least_weight,
        CODES if form is products.PACKED else {},
    )
    of_bytes = replace(found, windows=partial(windows_of_bytes, form=form), offset=FLIPPED_BY)
    return replace(found, of_bytes=of_bytes)


def codes_of_bytes(stream: byte_codes.Stream) -> dict[StoredForm, Codes]:
    """How weights in few bits become a stream of bytes."""
    return {
        form: Codes(unpack, partial(byte_codes.coded_bytes, form=form, stream=stream), byte_codes.BEYOND)
        for form, unpack in byte_codes.UNPACK_BYTES.items()
    }


PAIRS = by_pairs(products.PACKED)
WIDE_PAIRS = by_pairs(products.WIDE)
GATHERED_PAIRS = replace(PAIRS, windows=partial(gathered_windows, form=products.PACKED), planar=None, narrow=None)
"""For any windows the same few routines, which are few bytes: they are gathered into lines first."""
PLANES = replace(PAIRS, depthwise=depthwise_by_planes)
VECTORS = ProductSet(
    {
        (False, True): mve_products.MULTIPLY_WINDOWS,
        (False, False): mve_products.SUM_WINDOWS,
        (True, True): mve_products.MULTIPLY_WINDOW,
        (True, False): mve_products.SUM_WINDOW,
    },
    WholeProducts,
    lambda *given: [ColumnWindows(*given)],
    mve_products.stream,
    depthwise_by_vectors,
    codes=codes_of_bytes(mve_products.stream),
)


def by_elements(routines: Mapping[str, thumb_products.Routines], by_element: bool) -> ProductSet:
    """The products of cores that multiply one element at a time, by their routines for the dtypes of elements."""
    stream = partial(thumb_products.stream, by_element=by_element)
    of_bytes, found = (
        ProductSet(
            routines[dtype],
            WholeProducts,
            partial(single_columns, dtype=dtype),
            stream,
            depthwise_by_elements,
            codes=codes_of_bytes(stream),
        )
        for dtype in ("uint8", "int8")
    )
    return replace(found, of_bytes=of_bytes)


def single_columns(
    plane: Plane, channels: int, strides: tuple[int, ...], zero_point: int, dtype: str
) -> list[ColumnWindows]:
    """The windows of routines that read one element at a time."""
    return [ColumnWindows(plane, channels, strides, zero_point, block=1, dtype=dtype)]


ARMV7M = by_elements(BY_ELEMENT, by_element=True)
ARMV7M_ROW = ProductSet(
    CROSSED.routines,
    GroupProducts,
    partial(gathered_windows, form=CROSSED),
    CROSSED.stream,
    depthwise_by_elements,
    least_weight=CROSSED.least_weight,
)
"""The same of one row, whose elements are brought into another form first."""
CROSSED_SAVES, CROSSED_TAKES, CROSSED_CALL = 0.38, 3, 150
"""About the instructions that this saves of a multiplication, and those that it takes for an element, and at all."""
ARMV6M = by_elements(BY_CHANNEL, by_element=False)


@kernel_rule(ConvInteger, isa="dsp", strided=True)
def conv_by_products(task: Task[ConvInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return convolved(task, PAIRS)


@kernel_variant(conv_by_products, "wide weights")
def conv_wide_by_products(task: Task[ConvInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    expect_products(task)
    expect_whole(task.inputs[1])
    return convolved(task, WIDE_PAIRS)


@kernel_variant(conv_by_products, "gathered windows")
def conv_gathered_by_products(task: Task[ConvInteger]) -> Kernel:
    """By fewer bytes of code."""
    expect_products(task)
    return convolved(task, GATHERED_PAIRS)


@kernel_variant(conv_by_products, "depthwise planes")
def conv_of_planes_by_products(task: Task[ConvInteger]) -> Kernel:
    """Of each channel by itself, by loops that layers share: by fewer bytes of code."""
    if task.inputs[1].type.shape[1] != 1:
        raise Decline("it sums over channels")
    return convolved(task, PLANES)


def expect_products(task: Task[ConvInteger]) -> None:
    """Raise ``Decline`` where each channel is convolved by itself."""
    if task.inputs[1].type.shape[1] == 1:
        raise Decline("it has no products to sum over channels")


@kernel_rule(ConvInteger, isa="mve", strided=True)
def conv_by_vectors(task: Task[ConvInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return convolved(task, VECTORS)


@kernel_rule(ConvInteger, isa="armv7-m", strided=True)
def conv_by_armv7m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV7M)


@kernel_rule(ConvInteger, isa="armv6-m", strided=True)
def conv_by_armv6m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV6M)


@kernel_rule(LinearInteger, isa="dsp", strided=True)
def linear_by_products(task: Task[LinearInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return multiplied(task, PAIRS)


@kernel_variant(linear_by_products, "wide weights")
def linear_wide_by_products(task: Task[LinearInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    expect_whole(task.inputs[1])
    return multiplied(task, WIDE_PAIRS)


@kernel_rule(LinearInteger, isa="mve", strided=True)
def linear_by_vectors(task: Task[LinearInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return multiplied(task, VECTORS)


@kernel_rule(LinearInteger, isa="armv7-m", strided=True)
def linear_by_armv7m(task: Task[LinearInteger]) -> Kernel:
    """Of one row by two products in a multiplication, if there is room for its other form."""
    by_element = multiplied(task, ARMV7M)
    *rows, outputs = task.result.type.static_shape
    inputs = task.inputs[0].type.static_shape[-1]
    saved = int(CROSSED_SAVES * outputs * inputs - CROSSED_TAKES * inputs - CROSSED_CALL)
    if math.prod(rows) == 1 and saved > 0:
        with suppress(Decline):
            return or_in_less_room(task, multiplied(task, ARMV7M_ROW), by_element, saved)
    return by_element


@kernel_rule(LinearInteger, isa="armv6-m", strided=True)
def linear_by_armv6m(task: Task[LinearInteger]) -> Kernel:
    return multiplied(task, ARMV6M)
