"""The models behind the figures of README and docs: where they come from, and whether the files at hand are those.

    python scripts/fetch_models.py MODELS               # checks the files of a folder: right, different or missing
    python scripts/fetch_models.py --download MODELS    # fetches what is missing, and keeps it if its digest is right

The ``*_int8.tflite`` files are reference models of MLPerf Tiny (https://github.com/mlcommons/tiny, Apache-2.0), as
they stand at the commit below, under shorter names. Their digests are of the files that the figures were measured
with. That these paths hold these bytes at this commit others have published; graphopt's tests have no network, and
never asked.

The ``*.onnx`` files cannot be fetched. They are float32 nets of the same benchmark, rebuilt in PyTorch (channels
first, a symbolic batch, logits without softmax) and exported at opset 17; their digests tell whether two people
speak of the same ones. Rounded to int8, the weights of the ResNet, of both wake words and of the autoencoder's last
layer are those of the .tflite files (but for channels of ``vww`` that are constant; the autoencoder's other layers
still have their batch norms beside them). Those of the keyword spotter differ throughout. Whoever has none can convert
the float files beside those of int8, as by ``python -m tf2onnx.convert --tflite vww_96_float.tflite --opset 17
--output vww_mobilenetv1_025_96.onnx``: the same layers in another layout, whose figures will be near ours and not the
same. That was not tried.
"""

from __future__ import annotations

import argparse
import hashlib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

COMMIT = "4addd0fa08d216e20637637874e084895f289da4"
SOURCE = f"https://raw.githubusercontent.com/mlcommons/tiny/{COMMIT}/benchmark/training"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class File:
    """The SHA-256 of a file, and its place below the source; none for what has to be converted."""

    sha256: str
    path: str = ""


FILES = {
    "kws_int8.tflite": File(
        "aeea436800704fce17b17292e4412630ad856e9d777c044c64ef748a880bd0ae",
        "keyword_spotting/trained_models/kws_ref_model.tflite",
    ),
    "ic_int8.tflite": File(
        "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415",
        "image_classification/trained_models/pretrainedResnet_quant.tflite",
    ),
    "vww_int8.tflite": File(
        "597a384c8c2c8a1276f04702f25013b7838f2f814f1ca7c174d295b73e3d6b7b",
        "visual_wake_words/trained_models/vww_96_int8.tflite",
    ),
    "ad_int8.tflite": File(
        "87cf24194ef93d1d9b11a591d805526b98008e351655d29883c825c9c106ba24",
        "anomaly_detection/trained_models/ad01_int8.tflite",
    ),
    "sww_int8.tflite": File(
        "3af8550895ba7d5c584277102b5075c52dcfa63ba9d2b2240f37c4e6abd5dd2b",
        "streaming_wakeword/trained_models/str_ww_ref_model.tflite",
    ),
    "kws_dscnn.onnx": File("319c35b6fba5ed9e87cfd6736de8c9fbd91538cc5b8a9fff912652f695ba6a40"),
    "ic_resnet8.onnx": File("6a0ef7cc12d9c3a1f11b09f3d25170fd8b39cde5f196690ef58e24c8c60d4183"),
    "vww_mobilenetv1_025_96.onnx": File("6c1b844ea9d6b71cf3ccbec3dc96b4e7bdc20d35e2198152e55182e04b5fc2c5"),
    "ad_autoencoder.onnx": File("98f738434be35a1277337d9e02ea55cbe06fd55cf5d220f0babfd9f9bf100c9b"),
    "sww_dscnn.onnx": File("767cc595f121ec29db4daff867d0b1e9d5e3c282dbb543a422770624f781b228"),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, metavar="MODELS")
    options.add_argument("--download", action="store_true", help="fetch what is missing; nothing is replaced")
    options.add_argument("--source", default=SOURCE, help="another place of the same files: %(default)s by default")
    given = options.parse_args()
    right = [report(given.folder, name, file, given.source, given.download) for name, file in FILES.items()]
    raise SystemExit(0 if all(right) else 1)


def report(folder: Path, name: str, file: File, source: str, download: bool) -> bool:
    """Print what a file is, fetching it if it is missing and may be; whether it is right."""
    path, url = folder / name, f"{source}/{file.path}"
    found = state(path, file)
    if found == "missing" and file.path:
        found = fetched(path, file, url) if download else f"missing: {url}"
    elif found == "missing":
        found = "missing: to be converted, see --help"
    print(f"{name:<28} {found}")
    return found == "right"


def state(path: Path, file: File) -> str:
    if not path.is_file():
        return "missing"
    return "right" if hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256 else "different, and left alone"


def fetched(path: Path, file: File, url: str) -> str:
    """Fetch a file and keep it if it is the one; what came of it."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            data = answer.read()
    except OSError as error:
        return f"missing: {url} cannot be fetched ({error})"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return f"missing: {url} is another file"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return "right"


if __name__ == "__main__":
    main()
