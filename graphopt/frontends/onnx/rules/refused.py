"""The ONNX operators that are refused for what they are, and why."""

from __future__ import annotations

from graphopt.frontends.onnx.node import ONNX_RULES

ONNX_RULES.unsupported("the shape of its result depends on data", "NonMaxSuppression", "NonZero", "Unique")
ONNX_RULES.unsupported(
    "it is random",
    *("Bernoulli", "Multinomial"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
)
ONNX_RULES.unsupported(
    "it works on strings", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"
)
ONNX_RULES.unsupported(
    "it works on sequences or optional values",
    *("Optional", "OptionalGetElement", "OptionalHasElement"),
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"),
    *("SequenceLength", "SequenceMap", "ConcatFromSequence", "SplitToSequence"),
)
ONNX_RULES.unsupported(
    "it belongs to training",
    *(f"ai.onnx.preview.training:{op}" for op in ("Adagrad", "Adam", "Gradient", "Momentum")),
)
ONNX_RULES.unsupported(
    "it belongs to classical machine learning, not to neural networks",
    *(
        f"ai.onnx.ml:{op}"
        for op in (
            *("ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer", "FeatureVectorizer"),
            *("Imputer", "LabelEncoder", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder"),
            *("SVMClassifier", "SVMRegressor", "Scaler", "TreeEnsemble", "ZipMap"),
        )
    ),
)
ONNX_RULES.unsupported("it decodes files of images", "ImageDecoder")
ONNX_RULES.unsupported("it pools over regions that data gives", "MaxRoiPool", "RoiAlign")
ONNX_RULES.unsupported("its windows have offsets that data gives", "DeformConv")
ONNX_RULES.unsupported("it needs the positions of a MaxPool, which are not imported", "MaxUnpool")
ONNX_RULES.unsupported("no operator stands for determinants", "Det")
ONNX_RULES.unsupported("it reads the bits of one dtype as those of another", "BitCast")
ONNX_RULES.unsupported("it makes a table of numbers: compute it before, and store it", "MelWeightMatrix")
