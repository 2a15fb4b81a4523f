"""The TFLite operators that are refused for what they are, and why."""

from __future__ import annotations

import tflite

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
TFLITE_RULES.unsupported("it computes with complex numbers", "COMPLEX_ABS", "IMAG", "REAL", "RFFT2D")
TFLITE_RULES.unsupported("it reads the bits of one dtype as those of another", "BITCAST")
TFLITE_RULES.unsupported("it writes at places that data gives", "DYNAMIC_UPDATE_SLICE")
TFLITE_RULES.unsupported("what it is stands in no schema", "CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES")
TFLITE_RULES.unsupported(
    "TFLite Micro does not have it",
    *("ATAN2", "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "BITWISE_XOR", "BUCKETIZE"),
    *(
        "CONCAT_EMBEDDINGS",
        "CONV_3D",
        "CONV_3D_TRANSPOSE",
        "DILATE",
        "HASHTABLE_LOOKUP",
        "LOCAL_RESPONSE_NORMALIZATION",
    ),
    *("LSTM", "MATRIX_DIAG", "MATRIX_SET_DIAG", "ONE_HOT", "RANGE", "RANK", "REDUCE_WINDOW", "REVERSE_SEQUENCE"),
    *("RIGHT_SHIFT", "RNN", "SCATTER_ND", "SEGMENT_SUM", "SPARSE_TO_DENSE", "TOPK_V2", "UNIDIRECTIONAL_SEQUENCE_RNN"),
    *(f"UNSORTED_SEGMENT_{kind}" for kind in ("MAX", "MIN", "PROD", "SUM")),
)
TFLITE_RULES.unsupported(
    "it is of StableHLO, which TFLite Micro does not have",
    *(name for name in vars(tflite.BuiltinOperator) if name.startswith("STABLEHLO_")),
)
