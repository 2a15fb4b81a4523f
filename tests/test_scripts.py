"""The scripts that outsiders run: where the models of the figures come from, and what a release must hold."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("fetch_models", monkeypatch)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("release_check", monkeypatch)


def called(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    monkeypatch.setattr("sys.argv", ["fetch_models.py", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        module.main()
    return end.value.code


def test_models_are_fetched_checked_and_never_replaced(
    models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = tmp_path / "there", tmp_path / "here"
    source.mkdir()
    names = ("good", "bad", "gone", "mine", "made")
    digest = hashlib.sha256(b"right").hexdigest()
    monkeypatch.setattr(models, "FILES", {n: models.File(digest, "" if n == "made" else f"{n}.bin") for n in names})
    for name, data in (("good", b"right"), ("bad", b"wrong"), ("mine", b"right")):
        (source / f"{name}.bin").write_bytes(data)
    assert called(models, monkeypatch, folder) == 1
    assert not folder.exists(), "nothing is fetched unasked"
    assert f"good{' ' * 25}missing: {models.SOURCE}/good.bin" in capsys.readouterr().out
    folder.mkdir()
    (folder / "mine").write_text("mine")
    assert called(models, monkeypatch, folder, "--download", "--source", source.as_uri()) == 1
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["good"] == "right"
    assert "is another file" in said["bad"] and "cannot be fetched" in said["gone"]
    assert said["mine"] == "different, and left alone" and "converted" in said["made"]
    assert {f.name: f.read_text() for f in folder.iterdir()} == {"good": "right", "mine": "mine"}
    monkeypatch.setattr(models, "FILES", {"good": models.FILES["good"]})
    assert called(models, monkeypatch, folder) == 0


def test_the_models_that_the_tests_use_are_those_named(
    models: ModuleType, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called(models, monkeypatch, shared / "models" / "mlperf_tiny") == 0


def packed(release: ModuleType, folder: Path, extra: str = "", without: str = "") -> tuple[Path, Path]:
    """An sdist and a wheel of empty files, of the names that they must have."""
    package = set(release.run(["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD", "graphopt"]).split())
    names = [n for n in (*package, "LICENSE", "README.md", "pyproject.toml") if n != without]
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"graphopt-1.0/{name}"), io.BytesIO())
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        for name in (*(package - {without}), "graphopt-1.0.dist-info/METADATA", *([extra] if extra else [])):
            archive.writestr(name, "")
    return folder / "a.tar.gz", folder / "a.whl"


@pytest.mark.parametrize(
    ("extra", "without", "said"),
    [
        ("", "", ""),
        ("tests/oracle.py", "", "not of the package: tests/oracle.py"),
        ("", "graphopt/py.typed", "the wheel lacks graphopt/py.typed"),
        ("", "LICENSE", "the sdist lacks LICENSE"),
    ],
)
def test_a_release_has_the_package_and_nothing_else(
    extra: str, without: str, said: str, release: ModuleType, tmp_path: Path
) -> None:
    made = packed(release, tmp_path, extra, without)
    if not said:
        release.check_contents(*made)
        return
    with pytest.raises(SystemExit, match=said):
        release.check_contents(*made)


def test_a_python_that_does_not_start_is_passed_over(
    release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minor, status in ((10, 0), (11, 0), (12, 127)):
        path = tmp_path / f"python3.{minor}"
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert release.pythons_of_path() == [str(tmp_path / "python3.11")]


RUN_BY_HAND = [f for folder in ("benchmarks", "examples", "scripts") for f in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("file", RUN_BY_HAND, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_imported_is_there(file: Path) -> None:
    """Most of these take too long to be run by tests, and would not be missed when a name moves."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "graphopt":
            assert node.module is not None
            for name in node.names:
                exec(f"from {node.module} import {name.name}", {})
