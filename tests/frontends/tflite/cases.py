"""Every operator that is read, as models of one operator: in float32, and quantized as the tables say."""

from __future__ import annotations

from frontends.tflite.case import Case
from frontends.tflite.cases_of_elements import ELEMENTS
from frontends.tflite.cases_of_layers import LAYERS
from frontends.tflite.cases_of_moves import MOVES
from frontends.tflite.cases_of_reductions import REDUCTIONS

CASES: dict[str, Case] = {**LAYERS, **ELEMENTS, **REDUCTIONS, **MOVES}
