#!/bin/sh
# A researcher: an operator, a rule and a pass of one's own, in one file; tried on a model, checked, compiled.
set -eu

cat > mine.py <<'END'
"""gelu_fast, x * sigmoid(1.702 x) (Hendrycks and Gimpel, 2016): as an operator, and put in the place of gelu."""

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Value
from graphopt.ops import Gelu
from graphopt.ops.elementwise import Unary
from graphopt.passes import Bounded, RewritePass
from graphopt.rewrite import rule
from graphopt.targets.scalars import constant, scalar_rule
from graphopt.targets.tir import Expr


class GeluFast(Unary, name="gelu_fast"):
    """x * sigmoid(1.702 x)."""

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return x / (1 + np.exp(x * x.dtype.type(-1.702)))


@scalar_rule(GeluFast)
def gelu_fast(op: GeluFast, x: Expr) -> Expr:
    return x / (constant(1, x) + tirx.exp(x * constant(-1.702, x)))


@rule(lambda gelu, x: gelu(x))
def faster(gelu: Gelu, x: Value) -> Value:
    return GeluFast()(x)


class FastGelu(RewritePass, name="fast-gelu", contract=Bounded(20.0)):
    """Compute gelu by one exponential."""

    rules = (faster,)
END

cat > model.py <<'END'
import torch
import graphopt

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 8))
graphopt.save(graphopt.trace(model, torch.zeros(1, 32)), "model.onnx")
END
python model.py

graphopt passes --load mine.py | grep fast-gelu
graphopt opt model.onnx --load mine.py -p fast-gelu --check --diff -o fast.gopt
graphopt diff model.onnx fast.gopt --load mine.py || true  # 1: they differ, and by how much
graphopt compile fast.gopt --load mine.py --target cortex-m4 -o firmware
graphopt bench model.onnx --load mine.py -p fast-gelu,fuse -t host -t cortex-m4
