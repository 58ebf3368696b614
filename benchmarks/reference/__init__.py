"""Plain C references, compiled when a benchmark starts and loaded with ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import MissingData

_HERE = Path(__file__).resolve().parent
#: The kernels' own flags: no fused multiply-add, so that sums agree.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
#: One plan node of the references.
NODE = np.dtype([("left", np.int32), ("right", np.int32), ("cost", np.float64), ("relations", np.int64)])


@cache
def library(name: str) -> ctypes.CDLL:
    """A reference of this folder, compiled.

    Raises
    ------
    MissingData
        If there is no C compiler.
    """
    compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise MissingData(f"needs a C compiler for the reference {name}.c; {compiler!r} is not on the path")
    folder = Path(tempfile.mkdtemp(prefix="godb_fast_reference_"))
    target = folder / f"{name}.so"
    subprocess.run([compiler, *FLAGS, str(_HERE / f"{name}.c"), "-o", str(target), "-lm"], check=True)
    loaded = ctypes.CDLL(str(target))
    shutil.rmtree(folder)
    return loaded


def pointer(array: Any) -> ctypes.c_void_p:
    """Address of an array's data; the caller keeps the array alive."""
    return ctypes.c_void_p(array.ctypes.data)
