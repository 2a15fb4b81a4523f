"""The rules of the built-in operators, by family. Importing this registers them."""

from graphopt.ir.registry import import_all

import_all(__path__, __name__)
