"""What of an update is sent: all of it or the largest part, as floats or in few bits."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.errors import InvalidInput

BITS = (4, 8, 32)


@dataclass(frozen=True)
class Compression:
    """How an update becomes bytes. ``Quantized(8) | TopK(0.1)`` is both: the largest tenth, in 8 bits.

    What is not sent, or rounded away, is added to the client's next update (error feedback: Seide et al., 2014;
    Karimireddy et al., 2019).

    Attributes:
        bits: of each number: 32 is float32; 8 and 4 are integers with one scale for each tensor.
        fraction: the part of the numbers that is sent, those of the largest magnitude.
        feedback: whether a client keeps what it did not send.

    Raises ``InvalidInput`` for numbers out of range.
    """

    bits: int = 32
    fraction: float = 1.0
    feedback: bool = True

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise InvalidInput(f"updates of {self.bits} bits", where="update", advice=f"one of {BITS}")
        if not 0 < self.fraction <= 1:
            raise InvalidInput(f"the fraction {self.fraction} is not in (0, 1]", where="update")

    def __or__(self, other: Compression) -> Compression:
        feedback = self.feedback and other.feedback
        return Compression(min(self.bits, other.bits), min(self.fraction, other.fraction), feedback)

    @property
    def exact(self) -> bool:
        return self.bits == 32 and self.fraction == 1


class Quantized(Compression):
    """All numbers, in 8 or 4 bits."""

    def __init__(self, bits: int = 8, feedback: bool = True) -> None:
        super().__init__(bits=bits, feedback=feedback)


class TopK(Compression):
    """The numbers of the largest magnitude, of all tensors together; ``fraction`` of them."""

    def __init__(self, fraction: float = 0.01, feedback: bool = True) -> None:
        super().__init__(fraction=fraction, feedback=feedback)
