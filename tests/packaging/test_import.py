"""What ``import godb_fast`` loads and what it exports."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import godb_fast
from godb_fast import backend

HEAVY = {
    "sklearn",
    "numba",
    "skl2onnx",
    "onnxruntime",
    "duckdb",
    "_duckdb",
    "sqlglot",
    "rich",
    "pandas",
    "pyarrow",
}
SNAPSHOT = Path(__file__).with_name("public_api.txt")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_import_loads_nothing_heavy() -> None:
    result = run(
        "import godb_fast, sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    assert result.returncode == 0, result.stderr
    assert not HEAVY & set(json.loads(result.stdout))


def test_planning_loads_nothing_heavy() -> None:
    result = run(
        "import godb_fast, sys, json\n"
        "g = godb_fast.QueryGraph.from_edges(3, [(0, 1), (1, 2)])\n"
        "godb_fast.plan(g, godb_fast.RowEstimates.of(g, [1, 2, 3], [0.5, 0.5]))\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))",
        GODB_FAST_BACKEND="python",
    )
    assert result.returncode == 0, result.stderr
    assert not HEAVY & set(json.loads(result.stdout))


def describe(name: str) -> list[str]:
    """A public name with its signature, and for a class those of its public methods."""
    value = getattr(godb_fast, name)
    if inspect.isclass(value):
        if issubclass(value, Exception):
            return [f"class {name}({value.__base__.__name__})"]
        lines = [f"class {name}{inspect.signature(value)}"]
        for key, member in sorted(vars(value).items()):
            if key.startswith("_"):
                continue
            if isinstance(member, (classmethod, staticmethod)):
                member = member.__func__
            if inspect.isfunction(member):
                lines.append(f"    {key}{inspect.signature(member)}")
            elif isinstance(member, property) or hasattr(member, "func"):
                lines.append(f"    {key}: property")
        return lines
    if callable(value):
        return [f"{name}{inspect.signature(value)}"]
    return [f"{name}: {type(value).__name__}"]


def test_public_api_snapshot() -> None:
    text = "\n".join(line for name in sorted(godb_fast.__all__) for line in describe(name)) + "\n"
    if os.environ.get("GODB_FAST_WRITE_SNAPSHOT") == "1":
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text(), (
        "the public API changed; if that is meant, rerun with GODB_FAST_WRITE_SNAPSHOT=1 "
        "and add a changelog line"
    )


def test_every_public_name_has_a_docstring() -> None:
    bare = [
        name
        for name in godb_fast.__all__
        if callable(getattr(godb_fast, name)) and not getattr(godb_fast, name).__doc__
    ]
    assert not bare


def test_unknown_backend_is_an_error_not_a_fallback() -> None:
    result = run("from godb_fast import backend; backend.selected()", GODB_FAST_BACKEND="fortran")
    assert result.returncode == 1
    assert "BackendUnavailable: unknown backend 'fortran'" in result.stderr


def test_named_backend_that_cannot_load_is_an_error() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'numba' else find(name, *a)\n"
        "from godb_fast import backend; backend.selected()"
    )
    result = run(code, GODB_FAST_BACKEND="numba")
    assert result.returncode == 1
    assert "pip install 'godb_fast[numba]'" in result.stderr


def test_backends_load_side_by_side() -> None:
    names = [name for name in backend.BACKENDS if backend.why_unavailable(name) is None]
    modules = [backend.kernels("enumeration", name) for name in names]
    assert len({id(module) for module in modules}) == len(names)
    assert "python" in names


@pytest.mark.parametrize(
    "topic", sorted(path.stem for path in backend.SOURCE_FOLDER.glob("*.py") if path.stem != "__init__")
)
def test_every_kernel_source_loads_on_every_backend(topic: str) -> None:
    for name in backend.BACKENDS:
        if backend.why_unavailable(name) is None:
            assert backend.kernels(topic, name).__doc__
