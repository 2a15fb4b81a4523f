"""Draw ONNX files and compare ONNX Runtime, graphopt's evaluator, the passes and compiled programs on them.

    .venv/bin/python scripts/draw_onnx_files.py [--files 2000] [--seed 0] [--output fuzz-findings]

The same as ``python -m graphopt.testing.onnx_files``; ``make fuzz`` draws some as well. A file is drawn again by
``--files 1 --seed`` and the seed in its name.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from graphopt.testing.onnx_files.search import main

if __name__ == "__main__":
    main()
