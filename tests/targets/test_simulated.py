"""A quantized model that is compiled before its layers are made integer is told of."""

import warnings

import numpy as np
import pytest
import torch

import graphopt
from graphopt.passes import InsertQuantization


def test_quantized_layers_in_floats_are_warned_of() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    graph = InsertQuantization(calibration=x)(graphopt.trace(layers, torch.from_numpy(x)))
    with pytest.warns(UserWarning, match=r"2 quantized layers .* in floats.*graphopt.optimize"):
        graphopt.compile(graph, "cortex-m4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphopt.compile(graphopt.optimize(graph), "cortex-m4")
