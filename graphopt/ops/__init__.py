"""The operators: one class each, with its attributes, type rule, reference evaluation and sample."""

# Each module says in its ``__all__`` what is shown here.
# mypy: implicit-reexport
# ruff: noqa: F403

import types
import typing

from graphopt.ops.activation import *
from graphopt.ops.binary import *
from graphopt.ops.conv import *
from graphopt.ops.elementwise import *
from graphopt.ops.fused import *
from graphopt.ops.half import *
from graphopt.ops.indexing import *
from graphopt.ops.integer import *
from graphopt.ops.integer_elementwise import *
from graphopt.ops.integer_recurrent import *
from graphopt.ops.linear import *
from graphopt.ops.logic import *
from graphopt.ops.math import *
from graphopt.ops.normalization import *
from graphopt.ops.pooling import *
from graphopt.ops.quantized import *
from graphopt.ops.recurrent import *
from graphopt.ops.reduction import *
from graphopt.ops.requantize import *
from graphopt.ops.sequence import *
from graphopt.ops.shape import *
from graphopt.ops.sparse import *
from graphopt.ops.stored import *
from graphopt.ops.two_level import *
from graphopt.ops.windows import *

if not typing.TYPE_CHECKING:  # type checkers follow the stars; at run time a star would show the modules too
    __all__ = [name for name, found in vars().items() if name[0] != "_" and not isinstance(found, types.ModuleType)]
