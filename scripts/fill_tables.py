r"""Fills the tables of README.md and docs/ with what benchmarks have measured, as it stands in benchmarks/results.

    python scripts/fill_tables.py           # writes the pages
    python scripts/fill_tables.py --check   # fails where a page has other figures

A table stands behind a line ``<!-- table: NAME -->``. The files of results are made by

    python benchmarks/mcu.py SHARED_FOLDER --json > benchmarks/results/mcu.json
    python benchmarks/mcu_ports.py SHARED_FOLDER --json > benchmarks/results/mcu_ports.json
    python benchmarks/cpu.py SHARED_FOLDER --target host --json benchmarks/results/cpu_host.json
    python benchmarks/cpu.py SHARED_FOLDER --target x86-64-v3 --json benchmarks/results/cpu_v3.json
    python benchmarks/confined.py benchmarks/cpu.py SHARED_FOLDER --target x86-64-v3 \
        --json benchmarks/results/cpu_avx2.json
    python benchmarks/gaps.py SHARED_FOLDER --target x86-64-v3 --json benchmarks/results/gaps_float32_v3.json
    python benchmarks/gaps.py SHARED_FOLDER --int8 --json benchmarks/results/gaps_int8_host.json
    python benchmarks/lite_rt.py SHARED_FOLDER --json benchmarks/results/lite_rt.json
    python benchmarks/convolutions.py --target x86-64-v3 --json benchmarks/results/convolutions_v3.json
    python benchmarks/convolutions.py --json benchmarks/results/convolutions_host.json
    python benchmarks/quantization.py SHARED_FOLDER --json benchmarks/results/quantization.json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from mcu_peers import TFLM, X_CUBE_AI  # noqa: E402
from ratios import CONVOLUTIONAL, OURS, ahead, gain  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARK = re.compile(r"^<!-- table: (\S+) -->\n(?:\|.*\n)*", re.MULTILINE)

TINY = {
    "kws": "keyword spotting",
    "resnet8": "image classification",
    "vww": "visual wake words",
    "vww, dead channels removed": "visual wake words, dead channels removed",
    "ad": "anomaly detection",
    "sww": "streaming wake word",
}
CPU = {
    **{name: TINY[name] for name in ("kws", "resnet8", "vww", "ad")},
    "MobileNetV2-224": "MobileNetV2, 224x224",
    "ResNet18-224": "ResNet18, 224x224",
    "tiny_yolo-320": "tiny_yolo, 320x320",
    "ViT 4x192": "ViT, 4 blocks of width 192, 197 tokens",
    "MiniLM-64": "MiniLM, 6 layers of width 384, 64 tokens",
    "MiniLM-64, batch 4": "the same, batch 4",
    "LSTM 100x128": "LSTM, 100 steps of 128",
    "GRU 100x128": "GRU, 100 steps of 128",
    "TCN": "TCN, 200 steps",
    "U-Net-128": "U-Net, 128x128",
    "MobileNetV2, trained": "MobileNetV2, trained on ImageNet",
    "silero-vad, a chunk": "silero-vad, a chunk of 32 ms",
    "MiniLM, trained": "MiniLM, trained",
}
LARGE = tuple(CPU)[4:14]
PEERS = ("ONNX Runtime", "OpenVINO")
CORES = {"cortex-m4": "Cortex-M4", **{f"cortex-m{n}": f"M{n}" for n in (7, 33, 55, 3, 0)}}
OPTIMIZED = {"size": "size", "balanced": "cortex-m4", "speed": "speed"}

Row = Iterable[str]


@cache
def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(heads: Row, rows: Iterable[Row], right: bool = False) -> str:
    """In Markdown; with ``right`` all columns but the first stand to the right."""
    heads = list(heads)
    rule = f"|---|{('---:|' if right else '---|') * (len(heads) - 1)}\n"
    first, *others = (re.sub(r" +", " ", f"| {' | '.join(row)} |\n") for row in (heads, *rows))
    return first + rule + "".join(others)


def mcu_instructions() -> str:
    rows = []
    for net, programs in results("mcu").items():
        cells = []
        for core in CORES:
            count, theirs = programs[core]["instructions"], TFLM.get(net, {}).get(core)
            cells.append(f"{count:,}" + (f" ({theirs * 1e6 / count:.2f})" if theirs else ""))
        rows.append([TINY[net], *cells])
    return table(["network", *CORES.values()], rows)


def mcu_figures(columns: Iterable[tuple[str, str, str]]) -> str:
    """Columns are a heading, the program, and what of it."""
    columns = list(columns)
    rows = [
        [
            TINY[net],
            *(f"{programs[program][figure]:,}" if program in programs else "" for _, program, figure in columns),
        ]
        for net, programs in results("mcu").items()
    ]
    return table(["network", *(heading for heading, *_ in columns)], rows)


def mcu_bytes() -> str:
    sizes = ("code", "weights", "stack", "workspace")
    return mcu_figures([*((s, "cortex-m4", s) for s in sizes), ("with ports", "with ports", "workspace")])


def mcu_x_cube() -> str:
    rows = []
    for net, milliseconds in X_CUBE_AI.items():
        ours = results("mcu")[net]["cortex-m4"]
        millions = (f"{ours[figure] / 1e6:#.3g}" for figure in ("instructions", "cycles"))
        rows.append([TINY[net], f"{milliseconds}", f"{milliseconds * 0.12:#.3g}", *millions])
    heads = (
        "network",
        "X-CUBE-AI, ms",
        "million cycles",
        "graphopt, million instructions",
        "million cycles of the proxy",
    )
    return table(heads, rows)


def mcu_optimize() -> str:
    figures = ("instructions", "cycles", "code", "weights", "flash")
    rows = [
        [TINY[net], optimize, *(f"{programs[program][figure]:,}" for figure in figures)]
        for net, programs in results("mcu").items()
        for optimize, program in OPTIMIZED.items()
    ]
    return table(("network", "`optimize=`", "instructions", "cycles of the proxy", *figures[2:]), rows)


def mcu_errors() -> str:
    rows = [[TINY[net], *(errors(programs[p]) for p in OPTIMIZED.values())] for net, programs in results("mcu").items()]
    return table(("network", "size: instructions, cycles, code", "balanced", "speed"), rows)


def mcu_core_errors() -> str:
    cores = ("cortex-m55", "cortex-m3", "cortex-m0")
    rows = [[TINY[net], *(errors(programs[core]) for core in cores)] for net, programs in results("mcu").items()]
    return table(("network, balanced", "Cortex-M55: instructions, cycles, code", "M3", "M0"), rows)


def errors(program: dict[str, Any]) -> str:
    return ", ".join(signed(program[f"{figure} error"]) for figure in ("instructions", "cycles", "code"))


def signed(error: float) -> str:
    return f"{error * 100 + 0.0:+.1f} %".replace("-0.0", "0.0").replace("+0.0", "0.0")


def mcu_rows() -> str:
    programs = {"by default": "with ports", "least": "least", "least, rows pushed": "pushed"}
    return mcu_figures(
        column
        for head, p in programs.items()
        for column in ((head, p, "workspace"), ("instructions", p, "instructions"))
    )


def mcu_budgets() -> str:
    rows = [
        [
            TINY[r["network"]],
            f"{r['ram']:,}",
            "yes" if r["pushed"] else "",
            f"{r['workspace']:,}",
            f"{r['instructions']:,}",
        ]
        for r in results("mcu_ports")["budgets"]
    ]
    return table(("network", "`ram=`", "rows pushed", "workspace", "instructions"), rows)


def mcu_cameras() -> str:
    rows = [
        [
            TINY[r["network"]],
            "none: int8" if r["kernel"] == "int8" else f"`{r['kernel']}`",
            f"{r['instructions']:,}",
            f"{r['workspace']:,}",
        ]
        for r in results("mcu_ports")["cameras"]
    ]
    return table(("network", "kernel of the port", "instructions", "workspace"), rows)


def mcu_helium() -> str:
    rows = []
    for net, programs in results("mcu").items():
        ours, theirs = programs["cortex-m55"], TFLM.get(net, {}).get("cortex-m55")
        sizes = (f"{ours[s]:,}" for s in ("code", "weights", "workspace", "stack"))
        rows.append([TINY[net], f"{ours['instructions']:,}", f"{theirs * 1e6:,.0f}" if theirs else "", *sizes])
    return table(("network", "instructions", "TFLM", "code", "weights", "workspace", "stack"), rows)


def readme_int8() -> str:
    scores = {(r["network"], r["weights"]): r["score"] for r in results("quantization")}
    rows = []
    for net, milliseconds in X_CUBE_AI.items():
        ours = results("mcu")[net]["cortex-m4"]
        shown = (
            f"{s / 100:.3f}" if net == "ad" else f"{s:.1f} %" for s in (scores[net, "float32"], scores[net, "int8"])
        )
        name = TINY[net] + (" (AUC)" if net == "ad" else "")
        counts = (f"{ours['instructions'] / 1e6:#.3g} M", f"{TFLM[net]['cortex-m4']:#.3g} M", f"{milliseconds} ms")
        rows.append([name, *shown, *counts, *(f"{ours[size]:,} B" for size in ("weights", "workspace", "code"))])
    peers = ("TFLite Micro, CMSIS-NN", "X-CUBE-AI 9.0 at 120 MHz")
    return table(("network", "float32", "int8", "instructions", *peers, "weights", "workspace", "code"), rows)


def quantization() -> str:
    names = {"kws": "KWS", "resnet8": "ResNet8", "vww": "VWW", "ad": "AD"}
    mixed = "int4 and int8, 5/8 of the bytes"
    found = {(r["network"], r["weights"]): r for r in results("quantization")}
    weights = ("float32", "int8", "int4, rounded to nearest", "int4", mixed)
    rows = [
        [
            title,
            *(f"{found[net, w]['score']:.2f}" for w in weights),
            ", ".join(f"{found[net, w]['packed']:,}" for w in ("int8", "int4", mixed)),
        ]
        for net, title in names.items()
    ]
    scores = ("float32", "int8", "int4, to nearest", "int4", "int4 and int8")
    return table(("network", *scores, "bytes of weights: int8, int4, mixed"), rows)


def cpu_float32() -> str:
    v3, host = results("cpu_v3")["networks"], results("cpu_host")["networks"]
    rows = [
        [
            title,
            *(microseconds(v3[net]["float32"]["seconds"][who]) for who in (OURS, *PEERS)),
            *(ratio(ahead(nets[net]["float32"], close=False)) for nets in (v3, host)),
        ]
        for net, title in CPU.items()
    ]
    means = (
        statistics.geometric_mean(ahead(nets[n]["float32"], close=False) or 1 for n in LARGE) for nets in (v3, host)
    )
    rows.append(["geometric mean, MobileNetV2 to U-Net", "", "", "", *(ratio(mean) for mean in means)])
    heads = ("network", OURS, *PEERS, "faster peer / ours", "the same by `--target host`, AVX-512")
    return table(heads, rows, right=True)


def cpu_int8(target: str) -> str:
    nets = results(f"cpu_{target}")["networks"]
    rows = [
        [
            title,
            *times_and_noise(nets[net]["int8"]),
            ratio(ahead(nets[net]["int8"], close=True)),
            ratio(gain(nets[net])),
        ]
        for net, title in CPU.items()
    ]
    mean = statistics.geometric_mean(gain(nets[n]) for n in CONVOLUTIONAL)
    rows.append(["geometric mean, convolutional, up to U-Net", "", "", "", "", ratio(mean)])
    heads = ("network", *(f"{who}, dB" for who in (OURS, *PEERS)), "faster peer / ours", "our float32 / int8")
    return table(heads, rows, right=True)


def cpu_avx2() -> str:
    """Peers that see a processor without AVX-512 and VNNI: in int8 whatever noise they have, which stands beside."""
    nets = results("cpu_avx2")["networks"]
    rows = [
        [
            title,
            *(microseconds(nets[net]["float32"]["seconds"].get(who, 0.0)) for who in (OURS, *PEERS)),
            ratio(ahead(nets[net]["float32"], close=False)),
            *times_and_noise(nets[net]["int8"]),
            ratio(ahead(nets[net]["int8"], close=False)),
        ]
        for net, title in CPU.items()
    ]
    means = [
        statistics.geometric_mean(ahead(nets[net][kind], close=False) or 1 for net in LARGE)
        for kind in ("float32", "int8")
    ]
    rows.append(["geometric mean, MobileNetV2 to U-Net", "", "", "", ratio(means[0]), "", "", "", ratio(means[1])])
    names = (OURS, *PEERS)
    heads = ("network", *(f"{who}, float32" for who in names), "peer / ours", *(f"{who}, int8, dB" for who in names))
    return table((*heads, "peer / ours"), rows, right=True)


def times_and_noise(row: dict[str, dict[str, float]]) -> Iterator[str]:
    for who in (OURS, *PEERS):
        yield f"{microseconds(row['seconds'][who])}, {row['dB'][who]:.1f}" if who in row["seconds"] else ""


def cpu_gaps() -> str:
    found = [results(f"gaps_{name}") for name in ("float32_v3", "int8_host")]
    rows = [[title, *(lost(kinds[net]) for kinds in found)] for net, title in CPU.items()]
    return table(("network", "float32, x86-64-v3", "int8, VNNI"), rows)


def lost(kinds: dict[str, tuple[float, float]]) -> str:
    """What loses a hundredth of the time or more."""
    told = (f"{kind.replace('_', ' ')} {part:.0%}, {gone:.0%}" for kind, (part, gone) in kinds.items() if gone >= 0.01)
    return "; ".join(told).replace("%", " %") or "nothing"


def cpu_lite_rt() -> str:
    files = {"kws": "kws", "resnet8": "ic", "vww": "vww", "ad": "ad", "sww": "sww"}
    found = {
        net: row for net, stem in files.items() for name, row in results("lite_rt").items() if name.startswith(stem)
    }
    rows = [
        [TINY[n], *(f"{r[who] * 1e6:.1f}" for who in (OURS, "LiteRT")), ratio(r["LiteRT"] / r[OURS]), str(r["differ"])]
        for n, r in found.items()
    ]
    return table(("file", OURS, "LiteRT", "LiteRT / graphopt", "elements that differ"), rows, right=True)


def cpu_convolutions() -> str:
    sides = [results(f"convolutions_{name}") for name in ("v3", "host")]
    columns = ("direct", "Winograd", "ONNX Runtime")
    rows = [
        [case, *(f"{side[case][who] / 1e9:.0f}" if who in side[case] else "" for side in sides for who in columns)]
        for case in sides[0]
    ]
    heads = [f"{who}, {where}" for where in ("AVX2", "host") for who in columns]
    return table(("layer, size of the plane", *heads), rows, right=True)


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.1f}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


TABLES: dict[str, Callable[[], str]] = {
    "mcu-instructions": mcu_instructions,
    "mcu-bytes": mcu_bytes,
    "mcu-x-cube": mcu_x_cube,
    "mcu-optimize": mcu_optimize,
    "mcu-errors": mcu_errors,
    "mcu-core-errors": mcu_core_errors,
    "mcu-rows": mcu_rows,
    "mcu-budgets": mcu_budgets,
    "mcu-cameras": mcu_cameras,
    "mcu-helium": mcu_helium,
    "readme-int8": readme_int8,
    "quantization": quantization,
    "cpu-float32": cpu_float32,
    "cpu-int8-host": lambda: cpu_int8("host"),
    "cpu-int8-v3": lambda: cpu_int8("v3"),
    "cpu-avx2": cpu_avx2,
    "cpu-lite-rt": cpu_lite_rt,
    "cpu-convolutions": cpu_convolutions,
    "cpu-gaps": cpu_gaps,
}


def filled(page: str) -> str:
    """The text of a page with its tables as the results have them."""
    return MARK.sub(lambda mark: f"<!-- table: {mark[1]} -->\n{TABLES[mark[1]]()}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where figures are others")
    asked = parser.parse_args()
    for page in PAGES:
        before = page.read_text()
        after = filled(before)
        if before != after and asked.check:
            raise SystemExit(f"{page.name} has other figures than benchmarks/results: run scripts/fill_tables.py")
        if before != after:
            page.write_text(after)
            print(f"{page.name}: written")


if __name__ == "__main__":
    main()
