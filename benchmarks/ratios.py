"""What the figures of ``cpu.py`` are compared by: the faster peer, and float32 by int8."""

from __future__ import annotations

OURS = "graphopt"
CONVOLUTIONAL = ("kws", "resnet8", "vww", "MobileNetV2-224", "ResNet18-224", "tiny_yolo-320", "TCN", "U-Net-128")
WORSE = 1.0
"""The decibels that a peer's int8 may be noisier than ours and still count."""

Figures = dict[str, dict[str, float]]
"""Of one network in one precision: by what is measured ("seconds", "dB"), the figure of each who ran it."""


def ahead(row: Figures, close: bool) -> float | None:
    """The seconds of the faster peer by ours; with ``close`` of those whose noise is not worse."""
    limit = row["dB"][OURS] - WORSE if close else float("-inf")
    peers = [s for name, s in row["seconds"].items() if name != OURS and row["dB"][name] >= limit]
    return min(peers) / row["seconds"][OURS] if peers else None


def gain(row: dict[str, Figures]) -> float:
    """How much faster int8 is than float32."""
    return row["float32"]["seconds"][OURS] / row["int8"]["seconds"][OURS]
