"""Distillation: what each term is, what a student learns by it, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small import DATA, X, accuracy, cross_entropy, same, small_net, weights
from torch import nn
from torch.nn import functional

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Linear, Sigmoid, Softmax
from graphopt.passes import FoldConstants, Pipeline, PruneWeights
from graphopt.training import distill, fine_tune, quantization_aware
from graphopt.training.features import Projection
from graphopt.training.softened import DISTANCES, kinds_of

FAST = {"name": "adam", "lr": 0.02}
TEACHER = fine_tune(small_net(channels=10), DATA, cross_entropy, epochs=15, optimizer=FAST, evaluate=accuracy)
"""Trained in a quarter of a second."""


def agreement(graph: Graph) -> float:
    return float((graph(X)[0].argmax(1) == TEACHER(X)[0].argmax(1)).mean())


class Twin(nn.Module):
    """A student in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image).mean((2, 3)))


def test_a_student_learns_what_its_teacher_says() -> None:
    """Without labels, of another architecture; of the teacher's outputs alone."""
    student = small_net(norm=False, seed=1)
    trained = distill(TEACHER, student, X, optimizer=FAST, epochs=40, evaluate=agreement)
    assert agreement(trained) > max(0.8, agreement(student))
    assert trained.history.epochs[-1].loss < 0.5 * trained.history.epochs[0].loss


def test_the_loss_is_what_hinton_says() -> None:
    """One step of gradient descent, against the formula."""
    student, module = small_net(norm=False, seed=1), graphopt.to_torch(small_net(norm=False, seed=1))
    options = {"epochs": 1, "batch_size": 96, "optimizer": {"name": "SGD", "lr": 0.1}, "schedule": "constant"}
    trained = distill(TEACHER, student, DATA, cross_entropy, temperature=3.0, alpha=0.6, **options)
    wanted = torch.from_numpy(TEACHER(X)[0])
    y = module(torch.from_numpy(X))
    soft = functional.kl_div((y / 3).log_softmax(1), (wanted / 3).softmax(1), reduction="batchmean")
    loss = 0.6 * 9 * soft + 0.4 * functional.cross_entropy(y, torch.from_numpy(DATA["label"]))
    loss.backward()
    assert trained.history.epochs[1].loss == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(weights(trained)[name], parameter.detach() - 0.1 * parameter.grad, atol=1e-6)


def test_features_are_learned_through_projections_that_are_dropped() -> None:
    student = small_net(channels=4, seed=1)
    pairs = {"relu": "relu", "features": "features"}
    trained = distill(TEACHER, student, X, features=pairs, epochs=25, optimizer=FAST)
    assert weights(trained).keys() == weights(student).keys()
    assert not same(trained, student)
    assert trained.history.epochs[-1].loss < 0.6 * trained.history.epochs[0].loss


def test_modules_teach_and_learn() -> None:
    teacher, student = graphopt.to_torch(TEACHER), Twin()
    teacher.train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    made = distill(teacher, student, X, epochs=6, optimizer=FAST)
    assert made is student
    assert not student.training
    assert student.history.epochs[-1].loss < 0.6 * student.history.epochs[0].loss
    assert teacher.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    graph = distill(student.train(), small_net(seed=2), X, features={"body.1": "norm"}, epochs=2)
    assert isinstance(graph, Graph)
    assert student.training


def test_a_teacher_is_a_file_and_fine_tuning_takes_one(tmp_path: Path) -> None:
    graphopt.save(TEACHER, tmp_path / "teacher.onnx")
    options = {"epochs": 2, "evaluate": agreement}
    by_file = distill(tmp_path / "teacher.onnx", small_net(seed=1), DATA, cross_entropy, **options)
    tuned = fine_tune(small_net(seed=1), DATA, cross_entropy, teacher=str(tmp_path / "teacher.onnx"), **options)
    assert same(by_file, tuned)
    assert not same(tuned, fine_tune(small_net(seed=1), DATA, cross_entropy, **options))


def test_zeros_of_a_student_stay() -> None:
    sparse = Pipeline([PruneWeights(sparsity=0.7), FoldConstants()])(small_net(norm=False))
    trained = distill(TEACHER, sparse, X, epochs=2, features={"features": "features"})
    for name, array in weights(sparse).items():
        assert array.ndim == 1 or (weights(trained)[name][array == 0] == 0).all()


@pytest.mark.parametrize("kind", DISTANCES)
def test_distances_are_zero_where_both_agree_and_grow(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.rand(6, 4, generator=generator) * 0.8 + 0.1
    far = torch.rand(6, 4, generator=generator) * 0.8 + 0.1
    if kind == "probabilities":
        teacher, far = teacher / teacher.sum(1, keepdim=True), far / far.sum(1, keepdim=True)
    steps = [DISTANCES[kind](teacher + t * (far - teacher), teacher, 2.0, 1).item() for t in (0, 0.5, 1)]
    assert abs(steps[0]) < 1e-6
    assert steps[0] < steps[1] < steps[2]


def test_probabilities_are_as_their_logits() -> None:
    student, teacher = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).unbind()
    for name, squash in (("logits", lambda x: x.softmax(1)), ("binary-logits", torch.sigmoid)):
        squashed = DISTANCES[name.replace("logits", "probabilities")](squash(student), squash(teacher), 4.0, 1)
        assert squashed.item() == pytest.approx(DISTANCES[name](student, teacher, 4.0, 1).item(), rel=1e-4)


def heads() -> Graph:
    """Boxes, classes by a softmax, scores by a sigmoid: what detectors give."""
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (4, 3))
    y = [
        Linear()(x, constant(rng.standard_normal((3, 3)).astype("f"), f"{n}.w"), constant(np.zeros(3, "f"), f"{n}.b"))
        for n in ("boxes", "classes", "scores")
    ]
    return Graph((x,), (y[0], Softmax(axis=1)(y[1]), Sigmoid()(y[2])), ("boxes", "classes", "scores"))


def test_several_outputs_each_by_its_kind() -> None:
    teacher, rng = heads(), np.random.default_rng(1)
    outputs = [torch.zeros(4, 3)] * 3
    assert kinds_of(teacher, outputs) == ["values", ("probabilities", 1), "binary-probabilities"]
    module = graphopt.to_torch(heads())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.from_numpy(rng.standard_normal(parameter.shape).astype("f")))
    student = graphopt.with_parameters(heads(), module)
    data = rng.standard_normal((40, 3)).astype("f")
    trained = distill(teacher, student, data, epochs=20, optimizer={"name": "adam", "lr": 0.05})
    assert trained.history.epochs[-1].loss < 0.1 * trained.history.epochs[0].loss


def test_sequences_have_their_classes_last() -> None:
    torch.manual_seed(0)
    teacher, student = nn.GRU(5, 4, batch_first=True), nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = teacher

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self.net(input)[0]

    x = np.random.default_rng(0).standard_normal((32, 7, 5)).astype("f")
    trained = distill(Sequence(), student, x, outputs=["logits"], epochs=8, optimizer=FAST, batch_size=16)
    assert trained.history.epochs[-1].loss < 0.7 * trained.history.epochs[0].loss


ONE = Twin()
REFUSED = [
    ({"teacher": ONE, "student": ONE}, "are one module"),
    ({"teacher": heads(), "student": nn.Linear(3, 3), "data": np.zeros((8, 3), "f")}, "outputs of the student, 3 of"),
    ({"alpha": 1.5}, "out of range"),
    ({"temperature": 0}, "out of range"),
    ({"features": {"relu": "nowhere"}}, "no node is called 'nowhere'"),
    ({"features": {"relu": "features"}}, "take floats of one rank"),
    ({"outputs": ["boxes"]}, "'boxes' is no kind of output"),
    ({"outputs": ["logits", "values"]}, "2 kinds, 1 outputs"),
    ({"student": heads()}, "has no input|outputs of the student|float32"),
    (
        {"teacher": nn.Linear(5, 7), "student": Twin(), "features": {"nothing": "head"}},
        "no submodule is called 'nothing'",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_go_together_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        distill(**{"teacher": TEACHER, "student": small_net(), "data": X, "epochs": 1, **given})


@pytest.mark.parametrize(
    ("own", "wanted", "meet"),
    [
        ((2, 4, 8, 8), (2, 6, 4, 8), (2, 6, 4, 8)),
        ((2, 4, 8), (2, 6, 8), (2, 6, 8)),
        ((2, 7, 4), (2, 7, 6), (2, 7, 6)),
        ((2, 4, 9), (2, 4, 5), (2, 4, 5)),
        ((2, 4), (2, 6), (2, 6)),
        ((2, 4, 6, 6), (2, 4, 6, 6), (2, 4, 6, 6)),
    ],
)
def test_features_meet_in_one_shape(own: tuple[int, ...], wanted: tuple[int, ...], meet: tuple[int, ...]) -> None:
    student, teacher = torch.randn(own), torch.randn(wanted)
    one, other = Projection(student, teacher, "f")(student, teacher)
    assert one.shape == other.shape == meet
    assert (own == wanted) == torch.equal(one, student)


def test_how_a_teacher_is_learned_from_is_said_to_all_who_take_one() -> None:
    for train in (fine_tune, quantization_aware):
        with pytest.raises(InvalidInput, match="'boxes' is no kind of output"):
            train(TEACHER, DATA, cross_entropy, teacher=TEACHER, outputs=["boxes"], epochs=1)
        with pytest.raises(InvalidInput, match="alpha 2"):
            train(TEACHER, DATA, cross_entropy, teacher=TEACHER, alpha=2, epochs=1)
