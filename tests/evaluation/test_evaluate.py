"""What can be evaluated on what, what is told of it, and what is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import graphopt
from evaluation.nets import echo, rectified
from graphopt import evaluate
from graphopt.errors import GraphoptError, InvalidInput
from graphopt.evaluation.samples import chosen_places
from graphopt.ir import Array, Batch, Graph, arg, constant
from graphopt.ops import Add, ReduceMean
from graphopt.passes import Fuse, Pipeline, Quantize
from graphopt.runtime.program import quantized
from graphopt.targets.target import host_name

X = np.random.default_rng(0).standard_normal((70, 5)).astype("float32")
Y = X.argmax(1)
WRONG = np.where(np.arange(70) % 10 == 0, (Y + 1) % 5, Y)
SOME = chosen_places(70, 7)


def test_arrays_mappings_and_batches_are_the_same_data() -> None:
    batches = [{"x": X[i : i + 20], "y": WRONG[i : i + 20]} for i in range(0, 70, 20)]
    results = [
        evaluate(echo(5), X, WRONG),
        evaluate(echo(5), {"x": X, "y": WRONG}, "y"),
        evaluate(echo(5), batches, "y"),
    ]
    assert results[0] == results[1] == results[2]
    assert results[0].score is not None
    assert results[0].score.value == 63 / 70
    assert [evaluate(echo(5), d, y, samples=7).score for d, y in ((X, WRONG), (batches, "y"))] == [
        evaluate(echo(5), X[SOME], WRONG[SOME]).score
    ] * 2
    assert np.array_equal(SOME // 10, np.arange(7))
    assert len(set(SOME % 10)) > 3


def test_the_worst_samples_are_named() -> None:
    found = evaluate(echo(5), X * 100, WRONG, worst=7)
    assert {s.index for s in found.worst} == {0, 10, 20, 30, 40, 50, 60}
    losses = [s.loss for s in found.worst]
    assert losses == sorted(losses, reverse=True)
    assert all(s.label == WRONG[s.index] and s.predicted == Y[s.index] for s in found.worst)


def test_agreement_without_labels() -> None:
    x = arg("other", "float32", (Batch(), 5))
    off = Graph((x,), (Add()(x, constant(np.float32([0, 0, 0, 0, 1]))),), ("y",), name="off")
    found = evaluate(off, X, against=echo(5))
    assert found.score is None
    assert found.against is not None
    assert found.against.score is None
    assert found.against.same_class is not None
    assert found.against.same_class.value == ((X + np.eye(5)[4]).argmax(1) == Y).mean()
    assert found.against.sqnr == pytest.approx(10 * np.log10(np.square(X.astype(float)).sum() / 70), rel=1e-6)
    assert found.against.max_error == pytest.approx(1, rel=1e-6)
    assert found.against.worst[0].index == np.square(X).sum(1).argmin()
    relative = evaluate(off, X, metric="mse", against=echo(5)).score
    assert relative is not None
    assert relative.value == pytest.approx(1 / 5)


def test_a_fixed_batch_leaves_out_what_does_not_fill_it_and_says_so() -> None:
    found = evaluate(echo(5, batch=8), X, Y)
    assert (found.samples, found.available) == (64, 70)
    assert found.notes == ("6 samples do not fill a batch: left out",)
    with pytest.raises(InvalidInput, match="5 samples fill no batch of 8"):
        evaluate(echo(5, batch=8), X[:5], Y[:5])


def test_programs_of_a_batch_of_one_and_of_other_dtypes() -> None:
    program = graphopt.compile(echo(5, batch=1), "host")
    wanted = evaluate(echo(5), X, WRONG).score
    assert evaluate(program, X, WRONG).score == wanted
    assert evaluate(program, X.astype("float64"), WRONG).score == wanted
    assert evaluate(echo(5), (X * 20).astype("int8"), (X * 20).astype("int8").argmax(1)).score is not None


def test_nan_is_no_class_and_is_said() -> None:
    broken = X.copy()
    broken[3, 2] = np.nan
    found = evaluate(echo(5), broken, Y)
    assert found.score is not None
    assert found.score.value == 69 / 70
    assert found.notes == ("1 outputs are not finite: counted as wrong",)
    assert found.worst[0].index == 3
    json.loads(found.to_json(), parse_constant=pytest.fail)
    with pytest.raises(InvalidInput, match="the outputs of 1 samples are not finite, of sample 3 for one"):
        evaluate(echo(5), broken, X, metric="mse")


def test_json_has_a_version_and_no_nan() -> None:
    found = evaluate(echo(5), X, np.zeros(70, int), metric="auc", against=echo(5))
    assert found.score is not None
    assert np.isnan(found.score.value)
    data = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert data["version"] == 1
    assert data["score"]["value"] is None
    assert data["against"]["sqnr"] is None
    assert data["samples"] == 70


def test_integers_of_a_program_are_not_compared_with_floats() -> None:
    small = Pipeline([Quantize(calibration=X), Fuse()])(rectified())
    program = graphopt.compile(small, "host")
    steps = quantized(X, program.manifest["inputs"][0])
    given = np.maximum(X, 0)
    same = [evaluate(program, x, given, metric="mse").score for x in (X, steps)]
    assert same[0] == same[1]
    agreed = evaluate(program, X, against=small).against
    assert agreed is not None and agreed.sqnr == np.inf
    for how in ({"against": rectified()}, {"robustness": True}):
        with pytest.raises(InvalidInput, match="int8 are the integers of the program"):
            evaluate(program, steps, given, metric="mse", **how)


def test_layouts_are_not_mixed_up() -> None:
    images = np.zeros((4, 3, 5, 5), "float32")
    with pytest.raises(
        InvalidInput, match=re.escape("labels float32[4, 5, 5, 3] for an output of the shape [4, 3, 5, 5]")
    ):
        evaluate(echo(3, 5, 5), images, images.transpose(0, 2, 3, 1), metric="mse")


def test_inputs_without_samples() -> None:
    x, gain = arg("x", "float32", (Batch(), 5)), arg("gain", "float32", ())
    with pytest.raises(InvalidInput, match=r"alike for all inputs \(x \[70, 5\], gain \[\]\)"):
        evaluate(Graph((x, gain), (Add()(x, gain),)), {"x": X, "gain": np.float32(2)}, Y)


def test_targets_by_any_name_and_other_counts_of_inputs() -> None:
    for program in (graphopt.compile(echo(5), "host"), graphopt.compile(echo(5), host_name())):
        for target in ("host", host_name(), None):
            assert evaluate(program, X, Y, target=target).score == evaluate(echo(5), X, Y).score
    assert evaluate(echo(5), X, Y, target="host").engine == f"{host_name()} program"
    x, other = arg("x", "float32", (Batch(), 5)), arg("other", "float32", (Batch(), 5))
    with pytest.raises(InvalidInput, match="1 inputs given, 2 needed: x, other"):
        evaluate(echo(5), X, against=Graph((x, other), (Add()(x, other),)))


def mean_margin(outputs: Array, labels: Array) -> Array:
    return outputs.max(1) - outputs[np.arange(len(labels)), labels]


def test_a_metric_of_ones_own() -> None:
    found = evaluate(echo(5), X, WRONG, metric=mean_margin).score
    assert found is not None
    assert (found.metric, found.interval) == ("mean_margin", "bootstrap")
    assert found.value == pytest.approx(mean_margin(X, WRONG).mean())
    plain = evaluate(echo(5), X, WRONG, metric=lambda outputs, labels: 0.25).score
    assert plain is not None
    assert (plain.value, plain.low) == (0.25, None)


REFUSED = {
    "the label of sample 60 is 5 (the classes are 0 to 4)": (X, np.where(np.arange(70) == 60, 5, Y), "top1"),
    "the label of sample 2 is -1": (X, np.where(np.arange(70) == 2, -1, Y), "top1"),
    "labels of the shape [69] for 70 samples": (X, Y[:69], "top1"),
    "70 labels": (np.concatenate([X, X]), Y, "top1"),
    "some are not whole": (X, Y + 0.5, "top1"),
    "labels float32[32, 4] for an output of the shape [32, 5]": (X, X[:, :4], "mse"),
    "labels float32[32, 5, 1, 2] for an output": (X, np.zeros((70, 5, 1, 2), "float32"), "mse"),
    "no metric is called 'beauty'": (X, Y, "beauty"),
    "it needs labels": (X, None, "top1"),
    "there is nothing to compare with": (X, None, None),
    "with 5 classes the right one is always among 5": (X, Y, "top5"),
    "it failed with ZeroDivisionError": (X, Y, lambda outputs, labels: 1 / 0),
    "it gave an array of the shape [3]": (X, Y, lambda outputs, labels: np.zeros(3)),
    "it failed with ValueError": (X, Y, lambda outputs, labels: "good"),
    "the data has no 'z'": ({"x": X, "y": Y}, "z", "top1"),
    "nothing for x": ({"z": X, "y": Y}, "y", "top1"),
    "the data can be read but once": (iter([{"x": X, "y": Y}]), "y", "top1"),
    "there is no data": ([], "y", "top1"),
    "a str is no data": ("data.npz", "y", "top1"),
    "a int is no data": (3, "y", "top1"),
    "complex64 given, float32 needed": (X.astype("complex64"), Y, "top1"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_refusals(told: str) -> None:
    data, labels, metric = REFUSED[told]
    with pytest.raises(GraphoptError, match=re.escape(told)):
        evaluate(echo(5), data, labels, metric=metric)


def test_what_is_no_model_and_a_target_that_is_not_the_programs() -> None:
    with pytest.raises(InvalidInput, match="a int cannot be evaluated"):
        evaluate(3, X, Y)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="the program was compiled for"):
        evaluate(graphopt.compile(echo(5), "host"), X, Y, target="cortex-m4")
    with pytest.raises(InvalidInput, match="0 samples"):
        evaluate(echo(5), X, Y, samples=0)


def test_outputs_of_other_shapes() -> None:
    x = arg("x", "float32", (Batch(), 5))
    mean = Graph((x,), (ReduceMean(axes=(1,), keepdims=True)(x),))
    with pytest.raises(InvalidInput, match=re.escape("outputs of the shapes [[32, 5]], the reference has [[32, 1]]")):
        evaluate(echo(5), X, against=mean)
    with pytest.raises(InvalidInput, match="no input has the shape of the first output"):
        evaluate(mean, X, Y, metric="anomaly-auc")
    with pytest.raises(InvalidInput, match="it has one number a sample"):
        evaluate(mean, X, Y % 2, metric="top1")
