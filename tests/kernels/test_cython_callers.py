"""An engine written in Cython cimports the planner and calls it without Python in between."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from oracles import join_order as oracle

from godb_fast import backend as backends
from godb_fast._kernels import SOURCE_FOLDER
from godb_fast.core import C_OUT, PLAN_NODE
from godb_fast.planning.search import Planner

CALLER = """
from godb_fast._kernels.planner cimport Planner

def repeat(Planner planner, rows, model, out, int times):
    cdef long long invalid = 0
    cdef int i
    for i in range(times):
        invalid += planner.search(1, rows, model, out)
    return invalid
"""

BUILD = """
from setuptools import Distribution, Extension
from Cython.Build import cythonize

distribution = Distribution({"ext_modules": cythonize([Extension("caller", ["caller.pyx"])], include_path=["."])})
command = distribution.get_command_obj("build_ext")
command.inplace = 1
command.ensure_finalized()
command.run()
"""


@pytest.mark.slow
def test_a_cython_caller_searches(tmp_path, monkeypatch):
    reason = backends.why_unavailable("cython")
    if reason is not None:
        pytest.skip(reason)
    pytest.importorskip("Cython")
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    declarations = tmp_path / "godb_fast" / "_kernels"
    declarations.mkdir(parents=True)
    for folder in (declarations.parent, declarations):
        (folder / "__init__.pxd").touch()
    shutil.copy(SOURCE_FOLDER / "planner.pxd", declarations)
    (tmp_path / "caller.pyx").write_text(CALLER)
    (tmp_path / "build.py").write_text(BUILD)
    subprocess.run([sys.executable, "build.py"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    shutil.rmtree(declarations.parent)
    monkeypatch.syspath_prepend(tmp_path)
    import caller  # type: ignore[import-not-found]

    graph = oracle.letters("A-B B-C C-D")
    planner = Planner(graph, backend="cython")
    rows = np.arange(1.0, len(planner.sets) + 1)
    out = np.zeros((1, 7), PLAN_NODE)
    assert caller.repeat(planner.natives[0], rows, C_OUT.coefficients(), out, 3) == 0
    assert out.tobytes() == planner.search(rows).tobytes()
    assert caller.repeat(planner.natives[0], -rows, C_OUT.coefficients(), out, 1) == len(rows)
