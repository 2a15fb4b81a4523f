"""The ONNX operators that are refused for what they are, and why."""

from __future__ import annotations

DATA_DEPENDENT = "the shape of its result depends on data"
RANDOM = "it is random"
STRINGS = "it works on strings"
SEQUENCES = "it works on sequences or optional values"
TRAINING = "it belongs to training"
IMAGES = "it decodes files of images"
CLASSIC = "it belongs to classical machine learning, not to neural networks"

REASONS = {
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), DATA_DEPENDENT),
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), RANDOM
    ),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), STRINGS),
    **dict.fromkeys(
        (
            "ConcatFromSequence",
            "Optional",
            "OptionalGetElement",
            "OptionalHasElement",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SequenceMap",
            "SplitToSequence",
        ),
        SEQUENCES,
    ),
    **dict.fromkeys((f"ai.onnx.preview.training:{op}" for op in ("Adagrad", "Adam", "Gradient", "Momentum")), TRAINING),
    **dict.fromkeys(
        (
            "ai.onnx.ml:ArrayFeatureExtractor",
            "ai.onnx.ml:Binarizer",
            "ai.onnx.ml:LabelEncoder",
            "ai.onnx.ml:TreeEnsemble",
        ),
        CLASSIC,
    ),
    "ImageDecoder": IMAGES,
}
