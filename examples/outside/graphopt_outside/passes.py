"""A pass that knows the operator."""

from graphopt.ir import Value
from graphopt.ops import Relu
from graphopt.passes import Exact, RewritePass
from graphopt.rewrite import rule
from graphopt_outside.operators import Squareplus


@rule(lambda relu, squareplus, x: relu(squareplus(x)))
def drop_relu(relu: Relu, squareplus: Squareplus, x: Value) -> Value:
    return squareplus(x)


class DropRelu(RewritePass, name="drop-relu", contract=Exact()):
    """Drop a relu after squareplus, which is never negative."""

    rules = (drop_relu,)
