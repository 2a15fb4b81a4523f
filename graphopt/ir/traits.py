"""What kind an operator is, said once by its class for all passes and targets that ask."""

from __future__ import annotations

from enum import Flag, auto


class Trait(Flag):
    """A promise of an operator, whatever its attributes. One that lacks a trait promises nothing: it is left alone."""

    ELEMENTWISE = auto()
    """Each element of the one result follows from the elements at its place of the operands, which broadcast as in
    numpy, and from parameters of its channel or a table: a kernel can compute it as soon as it has that element."""

    PRODUCT = auto()
    """Each element of the one result is a sum of products of the first two operands: a convolution or a matrix product,
    of floats, integers or signs."""

    WINDOW = auto()
    """Operand 0 and the one result are [n, c, *s], and an element follows from a window over the spatial axes ``s``."""

    REDUCTION = auto()
    """Each element of the one result is all elements along some axes, put together in any order: a sum, a maximum."""

    MOVE = auto()
    """Each element of the results is an element of an operand, unchanged, whatever its value. Which one, follows from
    shapes, attributes and operands of indices."""

    PER_SAMPLE = auto()
    """Sample i of the results follows from sample i of the operands, if N is the first axis, and no other, of all that
    it reads and gives; what has no N is for all samples alike."""
