"""``--port``: what is read of it, and what it says to what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from graphopt import Port, Program
from graphopt.cli.ports import read_ports

READ: list[tuple[str, dict[str, Any]]] = [
    ("x=nhwc", {"layout": "nhwc"}),
    ("x=uint8", {"dtype": "uint8"}),
    ("x=nhwc:uint8:1/255", {"layout": "nhwc", "dtype": "uint8", "scale": 1 / 255}),
    ("x=nhwc:push_rows", {"layout": "nhwc", "push_rows": True}),
    ("x=uint8:mean=1/2:nchw:std=0.5,1e-2", {"dtype": "uint8", "mean": [0.5], "std": [0.5, 0.01]}),
]


@pytest.mark.parametrize(("text", "options"), READ)
def test_what_is_read(text: str, options: dict[str, Any]) -> None:
    (found,), wanted = read_ports([text]).values(), Port(**options)
    assert (found.layout, found.dtype, found.factor) == (wanted.layout, wanted.dtype, wanted.factor)
    assert (found.means, found.stds, found.push_rows) == (wanted.means, wanted.stds, wanted.push_rows)


def test_names_may_have_colons() -> None:
    layouts = {name: port.layout for name, port in read_ports(["input:0=nhwc", "y=nchw"]).items()}
    assert layouts == {"input:0": "nhwc", "y": "nchw"}


def test_a_camera(shell: Shell, model: Path, tmp_path: Path) -> None:
    words = "-t", "cortex-m4", "--port", "x=nhwc:uint8:1/255:mean=0.485,0.456,0.406:std=0.229,0.224,0.225"
    assert "pixels: scale 0.00392157, mean 0.485, 0.456" in shell("compile", model, "-o", tmp_path / "out", *words)
    (port,) = Program.load(tmp_path / "out").manifest["inputs"]
    assert (port["dtype"], port["shape"]) == ("uint8", [1, 6, 6, 3])
    assert port["pixels"] == {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "'' cannot be read"),
        ("x=nhwc:nchw", "'nchw' cannot be read"),
        ("x=a:b:c", "x=a:b:c: 'b' cannot be read"),
        ("x=uint8:1/0", "'1/0' is no number"),
        ("x=uint8:1/2/3", "'1/2/3' is no number"),
        ("x=uint8:mean=", "'' is no number"),
        ("x=uint8:0", "scale of a port: 0.0 is too small"),
        ("x=uint8:nan=1", "'nan=1' cannot be read"),
        ("x=uint9", "'uint9' is no dtype of a port"),
        ("x=mean=0.5", "the port takes none"),
        ("z=nhwc", "no port is called 'z'"),
        ("x=uint8:mean=1,2", "mean of port x: 2 numbers"),
        ("scores=uint8", "port scores: an output of uint8"),
    ],
)
def test_what_cannot_be(text: str, told: str, shell: Shell, model: Path, tmp_path: Path) -> None:
    said = shell("compile", model, "-o", tmp_path / "out", "--port", text, status=2)
    assert told in said and "Traceback" not in said


def test_a_port_twice(shell: Shell, model: Path, tmp_path: Path) -> None:
    words = "compile", model, "-o", tmp_path / "out", "--port", "x=uint8"
    assert "is the second of its name" in shell(*words, "--port", "x=nhwc", status=2)
    assert "both ports and layout have x" in shell(*words, "--nhwc", "x", status=2)
