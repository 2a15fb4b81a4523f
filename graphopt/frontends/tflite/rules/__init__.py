"""The rules by family; each registers when it is imported."""

from graphopt.ir.registry import import_all

import_all(__path__, __name__)
