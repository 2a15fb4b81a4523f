"""The integer forms of operators, by family, and why others have none; importing this package registers them."""

from graphopt.ir.registry import import_all
from graphopt.passes.quantize import float_only as float_only

import_all(__path__, __name__)
