"""Every metric against scikit-learn, or numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, roc_auc_score, top_k_accuracy_score

from evaluation.nets import echo
from graphopt import evaluate
from graphopt.evaluation import Evaluation, Score
from graphopt.ir import Array, Batch, Graph, arg, constant
from graphopt.ops import ArgMax, Mul

RNG = np.random.default_rng(3)
LOGITS = RNG.standard_normal((120, 7)).astype("float32") * 2
LABELS = np.where(RNG.random(120) < 0.5, LOGITS.argmax(1), RNG.integers(0, 7, 120))


def score(found: Evaluation) -> Score:
    assert found.score is not None
    return found.score


def value(x: Array, y: Array, metric: str) -> float:
    return score(evaluate(echo(*x.shape[1:]), x, y, metric=metric)).value


@pytest.mark.parametrize("k", [1, 5])
def test_top_k(k: int) -> None:
    assert value(LOGITS, LABELS, f"top{k}") == top_k_accuracy_score(LABELS, LOGITS, k=k)


def test_of_equal_scores_the_first_is_higher() -> None:
    x = np.zeros((2, 6), "float32")
    assert value(x, np.array([0, 5]), "top1") == 0.5
    assert value(x, np.array([4, 5]), "top5") == 0.5


def test_macro_f1() -> None:
    assert value(LOGITS, LABELS, "f1") == pytest.approx(f1_score(LABELS, LOGITS.argmax(1), average="macro"))


def test_auc_of_one_score_of_two_and_of_many() -> None:
    two = LABELS % 2
    assert value(LOGITS[:, :1], two, "auc") == roc_auc_score(two, LOGITS[:, 0])
    assert value(LOGITS[:, :2], two, "auc") == pytest.approx(roc_auc_score(two, LOGITS[:, 1] - LOGITS[:, 0]))
    powers = np.exp(LOGITS.astype(float))
    softmax = powers / powers.sum(1, keepdims=True)
    wanted = roc_auc_score(LABELS, softmax, multi_class="ovr")
    assert value(LOGITS, LABELS, "auc") == pytest.approx(wanted)
    assert value(softmax.astype("float32"), LABELS, "auc") == pytest.approx(wanted, abs=1e-6)


def test_values_by_hand() -> None:
    x = np.array([[1, 2], [3, 4]], "float32")
    y = np.array([[1, 0], [0, 0]], "float32")
    assert value(x, y, "mse") == (4 / 2 + 25 / 2) / 2
    assert value(x, y, "mae") == (1 + 3.5) / 2
    assert value(x, y, "cosine") == pytest.approx((1 / 5**0.5 + 0) / 2)
    assert value(x, y, "snr") == pytest.approx(10 * np.log10(1 / 29))
    assert value(x, x, "snr") == np.inf
    assert value(x[:, :1], np.array([1.0, 5.0]), "mse") == 2


@pytest.mark.parametrize("axis", [1, 2], ids=["classes second", "classes last"])
def test_steps_of_sequences_without_their_padding(axis: int) -> None:
    labels = np.array([[0, 2, -100, -100], [1, 1, 1, -100]])
    predicted = np.array([[0, 1, 2, 2], [1, 1, 0, 0]])
    x = np.moveaxis(np.eye(3, dtype="float32")[predicted], -1, axis)
    found = evaluate(echo(*x.shape[1:]), x, labels)
    assert score(found).value == 3 / 5
    assert score(found).interval == "bootstrap"
    assert found.confusion is not None
    assert np.array(found.confusion.matrix).sum() == 5


def test_a_net_may_give_the_class_itself_and_axes_of_one_element() -> None:
    x = arg("x", "float32", (Batch(), 7))
    net = Graph((x,), (ArgMax(axis=1, keepdims=False)(x),))
    assert score(evaluate(net, LOGITS, LABELS)).value == (LOGITS.argmax(1) == LABELS).mean()
    assert value(LOGITS[:, :, None, None], LABELS[:, None], "top1") == (LOGITS.argmax(1) == LABELS).mean()


def test_anomalies_by_the_error_of_their_clips() -> None:
    x = arg("x", "float32", (Batch(), 4))
    net = Graph((x,), (Mul()(x, constant(np.float32(0.5))),))
    clips = RNG.standard_normal((10, 3, 4)).astype("float32")
    labels = np.arange(10) % 3 == 0
    clips[labels] *= 1.2
    wanted = roc_auc_score(labels, np.square(clips / 2).mean((1, 2)))
    found = evaluate(net, clips.reshape(30, 4), labels.astype(int), metric="anomaly-auc", samples=None)
    assert score(found).value == wanted
    assert score(found).count == 10


def test_wilson_is_scipys() -> None:
    found = score(evaluate(echo(7), LOGITS, LABELS, metric="top1"))
    wanted = binomtest(int((LOGITS.argmax(1) == LABELS).sum()), 120).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    sure = score(evaluate(echo(7), LOGITS[:9], LOGITS[:9].argmax(1), metric="top1"))
    assert sure.high == 1
    assert sure.low is not None and 0.6 < sure.low < 0.8


def test_the_bootstrap_covers_what_theory_says_and_repeats() -> None:
    x = RNG.standard_normal((400, 1)).astype("float32")
    first, again = (score(evaluate(echo(1), x, np.zeros((400, 1), "float32"), metric="mse")) for _ in range(2))
    assert first == again
    assert first.low is not None and first.high is not None
    spread = 1.96 * np.square(x).std() / 20
    assert first.high - first.low == pytest.approx(2 * spread, rel=0.2)
    assert first.low < first.value < first.high
