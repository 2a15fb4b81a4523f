"""The ONNX operators that are refused for what they are, and why."""

from __future__ import annotations

from graphopt.frontends.onnx.node import RULES

RULES.unsupported("the shape of its result depends on data", "NonMaxSuppression", "NonZero", "Unique")
RULES.unsupported(
    "it is random",
    *("Bernoulli", "Multinomial"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
)
RULES.unsupported(
    "it works on strings", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"
)
RULES.unsupported(
    "it works on sequences or optional values",
    *("Optional", "OptionalGetElement", "OptionalHasElement"),
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"),
    *("SequenceLength", "SequenceMap", "ConcatFromSequence", "SplitToSequence"),
)
RULES.unsupported(
    "it belongs to training",
    *(f"ai.onnx.preview.training:{op}" for op in ("Adagrad", "Adam", "Gradient", "Momentum")),
)
RULES.unsupported(
    "it belongs to classical machine learning, not to neural networks",
    *(f"ai.onnx.ml:{op}" for op in ("ArrayFeatureExtractor", "Binarizer", "LabelEncoder", "TreeEnsemble")),
)
RULES.unsupported("it decodes files of images", "ImageDecoder")
