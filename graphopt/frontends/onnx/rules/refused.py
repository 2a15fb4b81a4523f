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
    *(
        f"ai.onnx.ml:{op}"
        for op in (
            *("ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer", "FeatureVectorizer"),
            *("Imputer", "LabelEncoder", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder"),
            *("SVMClassifier", "SVMRegressor", "Scaler", "TreeEnsemble", "ZipMap"),
        )
    ),
)
RULES.unsupported("it decodes files of images", "ImageDecoder")
RULES.unsupported("it pools over regions that data gives", "MaxRoiPool", "RoiAlign")
RULES.unsupported("its windows have offsets that data gives", "DeformConv")
RULES.unsupported("it needs the positions of a MaxPool, which are not imported", "MaxUnpool")
RULES.unsupported("no operator stands for determinants", "Det")
RULES.unsupported("it reads the bits of one dtype as those of another", "BitCast")
RULES.unsupported("it makes a table of numbers: compute it before, and store it", "MelWeightMatrix")
