"""From models to graphs: ``trace`` for PyTorch, ``load`` for files.

torch, onnx and tflite are imported when one of the two is called, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.errors import GraphoptError, InvalidInput, Unsupported
from graphopt.extras import optional_packages
from graphopt.frontends.tflite.verify import is_tflite
from graphopt.frontends.weights import require_finite_weights
from graphopt.ir import Graph, bind_batch
from graphopt.storage import is_stored, read

if TYPE_CHECKING:
    from onnx import ModelProto

    from graphopt.frontends.inputs import Frozen

__all__ = ["load", "trace"]


def trace(
    model: Any, example_inputs: Any = None, *, dynamic_batch: bool = True, name: str | None = None, check: bool = True
) -> Graph:
    """The graph of an ``nn.Module``, an ``fx.GraphModule`` or an ``ExportedProgram``.

    Args:
        model: the model to trace. A module is traced in evaluation mode, and does not change.
        example_inputs: a tensor, a tuple of tensors, or a mapping from the names of arguments; an
            ``ExportedProgram`` needs none.
        dynamic_batch: whether dimension 0 of the inputs becomes N; else the graph has the batch of the example.
        name: the name of the graph; by default that of the class.
        check: whether to evaluate the graph on the example and to compare it with the model. If they differ because
            the model does something else for this batch, the batch is fixed and a warning says why. The check costs
            about as much as running the model a few times.

    Raises ``Unsupported`` with every node that cannot be imported, or if the graph and the model differ on the
    example; ``InvalidInput`` for unusable arguments, and for weights that hold NaN or infinity; ``MissingPackage``
    if PyTorch is not installed.
    """
    with optional_packages():
        import torch

        from graphopt.frontends.torch.export import trace as trace_module
        from graphopt.frontends.torch.fx import trace as trace_fx

    trace_any = trace_fx if isinstance(model, torch.fx.GraphModule) else trace_module
    try:
        graph = trace_any(model, example_inputs, dynamic_batch=dynamic_batch, name=name, check=check)
        require_finite_weights(graph)
        return graph
    except GraphoptError:
        raise
    except Exception as error:  # of torch: what an odd model makes of it is not written anywhere
        raise Unsupported(
            "the model cannot be traced",
            where=name or type(model).__name__,
            why=f"{type(error).__name__}: {error}",
            advice="graphopt may be at fault: please report it",
        ) from error


def load(
    model: str | Path | ModelProto,
    *,
    batch: int | None = None,
    shapes: Mapping[str, int | Sequence[int]] | None = None,
    constants: Mapping[str, Frozen] | None = None,
) -> Graph:
    """The graph in a file: an ONNX model of opset 6 or later, a TFLite model, or a ``.gopt`` file of ``graphopt.save``.

    Quantized inputs and outputs of a TFLite model are floats, with a quantize or dequantize at them.

    Nothing in a file is trusted, and no file can make it use more memory or nodes than ``frontends.limits`` allows.

    Args:
        model: a path, or an ONNX model in memory.
        batch: the batch size to bind; by default a dynamic dimension 0 of the inputs stays N.
        shapes: sizes for the other dynamic dimensions, by their name in the model (``{"seq": 16}``), or
            whole shapes by the name of an input. A ``.gopt`` file has none.
        constants: arrays for inputs that become constants, which is necessary for inputs that give shapes, axes or
            counts; numbers and lists take the dtype of the input (``{"sr": 16000}``). A ``.gopt`` file has none.

    Raises ``InvalidInput`` if there is no usable model, and for weights that hold NaN or infinity; ``Unsupported``
    with every node that cannot be imported.
    """
    where = str(model) if isinstance(model, str | Path) else "model"
    try:
        if isinstance(model, str | Path) and Path(model).is_file() and is_stored(Path(model)):
            if shapes or constants:
                raise InvalidInput("shapes and constants are for ONNX and TFLite models", where=where)
            graph = read(Path(model))
            graph = graph if batch is None else bind_batch(graph, batch)
        elif isinstance(model, str | Path) and Path(model).is_file() and is_tflite(Path(model)):
            from graphopt.frontends.tflite.importer import load as load_tflite

            graph = load_tflite(Path(model), batch=batch, shapes=shapes, constants=constants)
        else:
            from graphopt.frontends.onnx.importer import load as load_onnx

            graph = load_onnx(model, batch=batch, shapes=shapes, constants=constants)
        require_finite_weights(graph)
        return graph
    except (GraphoptError, OSError):
        raise
    except Exception as error:  # of numpy, onnx, protobuf: what a malformed model makes of them is not written anywhere
        raise InvalidInput(
            "the model cannot be read",
            where=where,
            why=f"{type(error).__name__}: {error}",
            advice="if it is a valid model, graphopt is at fault: please report it",
        ) from error
