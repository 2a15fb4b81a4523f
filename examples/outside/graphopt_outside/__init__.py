"""An extension of graphopt: an operator, its rules, a pass and a target."""

from pathlib import Path

TARGETS = Path(__file__).with_name("targets.toml")
