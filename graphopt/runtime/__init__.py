"""The runtime: build, run, save and load compiled programs. It knows nothing of graphs or TVM."""

from graphopt.runtime.execute import Run
from graphopt.runtime.folder import Saved
from graphopt.runtime.program import Program, Sizes
from graphopt.runtime.session import Session

__all__ = ["Program", "Run", "Saved", "Session", "Sizes"]
