"""How ONNX files spell the operator, and what programs compute for it."""

from tvm import tirx

from graphopt.errors import InvalidInput
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value
from graphopt.targets.scalars import constant, scalar_rule
from graphopt.targets.tir import Expr
from graphopt_outside.operators import Squareplus


@onnx_rule("outside:Squareplus")
def read_squareplus(at: OnnxNode) -> Value:
    b = at.real("b", 4.0)
    if not b >= 0:
        raise InvalidInput(f"attribute 'b' is {b}", why="its square root is taken", advice="it must be 0 or more")
    return at.emit(Squareplus(b=b), at.value(0))


@scalar_rule(Squareplus)
def squareplus(op: Squareplus, x: Expr) -> Expr:
    return (x + tirx.sqrt(x * x + constant(op.b, x))) * constant(0.5, x)
