"""LiteRT's reference kernels, which are the same on every processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from graphopt.ir import Array


class Reference:
    """A model in LiteRT, without delegates.

    ``plain`` takes the reference kernels. They lack some operators, and their sum of int8 is wrong (LiteRT 2.3.0): for
    those there are the others.
    """

    def __init__(self, model: bytes, plain: bool = True) -> None:
        kernels = OpResolverType.BUILTIN_REF if plain else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels, num_threads=1)
        self.interpreter.allocate_tensors()

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the outputs."""
        return [tuple(int(d) for d in o["shape"]) for o in self.interpreter.get_output_details()]

    def __call__(self, inputs: Sequence[Array], keep: bool = False) -> list[Array]:
        """What one call gives, from states of zero unless those of the last call are to be kept."""
        if not keep:
            self.interpreter.reset_all_variables()
        for detail, data in zip(self.interpreter.get_input_details(), inputs, strict=True):
            self.interpreter.set_tensor(detail["index"], data)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_tensor(o["index"])) for o in self.interpreter.get_output_details()]
