"""The engine builder's example runs, is short, and plans with NumPy alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own_engine.py"
#: Everything that the package may install besides NumPy.
OTHERS = (
    "duckdb",
    "sqlglot",
    "onnxruntime",
    "rich",
    "platformdirs",
    "pandas",
    "pyarrow",
    "sklearn",
    "skl2onnx",
)


def run(code: str, backend: str) -> str:
    environment = {**os.environ, "GODB_FAST_BACKEND": backend}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_needs_numpy_alone_and_beats_the_order_as_written(backend: str) -> None:
    blocked = (*OTHERS, *(() if backend == "numba" else ("numba",)))
    output = run(
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n",
        backend,
    )
    assert "hash join" in output
    assert "same rows: True" in output
    touched = [int(found) for found in re.findall(r"(\d+) touched", output)]
    assert touched[1] < touched[0] / 2


def test_blocking_an_import_works() -> None:
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        run("import sys; sys.modules['duckdb'] = None; import duckdb", "python")


def test_the_example_is_under_150_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 150
