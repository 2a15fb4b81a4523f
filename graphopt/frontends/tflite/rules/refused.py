"""The TFLite operators that are refused for what they are, and why."""

from __future__ import annotations

from graphopt.frontends.tflite.node import TFLITE_RULES

TFLITE_RULES.unsupported(
    "it keeps a state between calls",
    *("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"),
    *("custom:CIRCULAR_BUFFER", "custom:SignalDelay", "custom:SignalFramer"),
)
TFLITE_RULES.unsupported("which operators run depends on data", "CALL", "IF", "WHILE")
TFLITE_RULES.unsupported(
    "the shape of its result depends on data",
    *("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "UNIQUE", "WHERE", "custom:TFLite_Detection_PostProcess"),
)
TFLITE_RULES.unsupported("it is random", "MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM")
TFLITE_RULES.unsupported(
    "it works on tables of strings", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE"
)
TFLITE_RULES.unsupported("it works on strings", "LSH_PROJECTION", "SKIP_GRAM")
TFLITE_RULES.unsupported("its weights are sparse", "DENSIFY", "EMBEDDING_LOOKUP_SPARSE")
TFLITE_RULES.unsupported("it is of training", "FAKE_QUANT")
TFLITE_RULES.unsupported("it is of a delegate of one machine", "DELEGATE")
