"""Traits: the properties that an operator class declares for all passes and targets."""

from __future__ import annotations

from enum import Flag, auto


class Trait(Flag):
    """A promise of an operator, whatever its attributes. Without a trait it promises nothing, and is left unchanged."""

    ELEMENTWISE = auto()
    """Each element of the only result depends on the elements at the same place of the operands, which broadcast as in
    numpy, and on parameters of its channel or a table. So a kernel can compute it as soon as it has those elements."""

    PRODUCT = auto()
    """Each element of the only result is a sum of products of the first two operands: a convolution or a matrix
    product, of floats, integers or signs."""

    WINDOW = auto()
    """Operand 0 and the only result are [n, c, *s]; an element depends on a window over the spatial axes ``s``."""

    REDUCTION = auto()
    """Each element of the only result combines all elements along some axes, in any order: a sum, a maximum."""

    MOVE = auto()
    """Each element of the results is an unchanged element of an operand, whatever its value. Shapes, attributes and
    operands of indices decide which one."""

    PER_SAMPLE = auto()
    """Sample i of the results depends only on sample i of the operands, if N is the first axis, and no other, of all
    operands and results. An operand without N serves all samples alike."""
