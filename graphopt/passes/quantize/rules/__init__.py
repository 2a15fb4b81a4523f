"""The integer forms of operators, by family; importing this room registers them."""

from graphopt.ir.registry import import_all

import_all(__path__, __name__)
