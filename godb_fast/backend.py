"""Picks the implementation of the kernels; the only file that imports them.

One annotated source per topic (``src_ext/<topic>.py``) has three forms: compiled by Cython, jitted by Numba
(the topics of ``JITTED``), or run as it is. ``GODB_FAST_BACKEND`` names one; unset means Cython, else Numba,
else Python. A form that was *named* and cannot load raises :class:`BackendUnavailable`; nothing falls back
silently. Several forms can be loaded side by side in one process.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import math
import os
import sys
from types import FunctionType, ModuleType
from typing import Any, Final

from godb_fast._kernels import SOURCE_FOLDER
from godb_fast.core.forking import RenewedLock
from godb_fast.errors import BackendUnavailable

BACKENDS: Final = ("cython", "numba", "python")
#: Topics that Numba compiles; the others (lexer, plan objects) run as Python under the Numba backend.
JITTED: Final = frozenset(
    {
        "cardinality",
        "costing",
        "drift",
        "enumeration",
        "extraction",
        "features",
        "forest",
        "greedy",
        "linearized",
        "plain",
    }
)

_lock = RenewedLock()
_loaded: dict[tuple[str, str], ModuleType] = {}
_selected: str | None = None


def selected() -> str:
    """Name of the backend that this process uses: ``cython``, ``numba`` or ``python``.

    Raises
    ------
    BackendUnavailable
        If ``GODB_FAST_BACKEND`` names one that does not exist or cannot be loaded.
    """
    global _selected
    if _selected is None:
        named = os.environ.get("GODB_FAST_BACKEND", "").strip().lower()
        if named:
            require(named)
            _selected = named
        else:
            _selected = next(name for name in BACKENDS if why_unavailable(name) is None)
    return _selected


def require(name: str) -> None:
    """Raise :class:`BackendUnavailable` unless the named backend can be used."""
    reason = why_unavailable(name)
    if reason is not None:
        raise BackendUnavailable(reason)


def why_unavailable(name: str) -> str | None:
    """Why a backend cannot be used, with the way out; None if it can."""
    if name not in BACKENDS:
        return f"unknown backend {name!r}; GODB_FAST_BACKEND takes one of {', '.join(BACKENDS)}"
    if name == "cython" and not _is_compiled("enumeration"):
        return (
            "backend 'cython' has no compiled kernels here; reinstall godb_fast with a C compiler "
            "(GODB_FAST_REQUIRE_EXT=1 shows why a build fails)"
        )
    if name == "numba" and importlib.util.find_spec("numba") is None:
        return "backend 'numba' needs the numba package; pip install 'godb_fast[numba]'"
    return None


def kernels(topic: str, backend: str | None = None) -> Any:
    """The module of one topic's kernels, in the form of the given backend (default: the selected one).

    Raises
    ------
    BackendUnavailable
        If the backend was named and cannot be loaded.
    """
    name = backend or selected()
    module = _loaded.get((topic, name))
    if module is None:
        with _lock:
            module = _loaded.get((topic, name))
            if module is None:
                require(name)
                module = _load(topic, name)
    return module


def _is_compiled(topic: str) -> bool:
    try:
        spec = importlib.util.find_spec(f"godb_fast._kernels.{topic}")
    except ImportError:
        return False
    return spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def _load(topic: str, name: str) -> ModuleType:
    if name == "cython":
        if not _is_compiled(topic):
            raise BackendUnavailable(
                f"backend 'cython' has no compiled kernel {topic!r} here; "
                "reinstall godb_fast with a C compiler"
            )
        module = importlib.import_module(f"godb_fast._kernels.{topic}")
        _loaded[topic, name] = module
        return module
    module = _run_source(topic, name)
    if name == "numba" and topic in JITTED:
        _jit(module)
    return module


def _run_source(topic: str, name: str) -> ModuleType:
    """Execute a topic's source as Python, with stand-ins for what it imports from Cython."""
    path = SOURCE_FOLDER / f"{topic}.py"
    full_name = f"godb_fast._kernels_{name}_{topic}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BackendUnavailable(f"kernel source {path} is missing; reinstall godb_fast")
    module = importlib.util.module_from_spec(spec)
    # Numba's cache looks its functions' module up by name, also in the next process.
    sys.modules[full_name] = module
    _loaded[topic, name] = module
    displaced = {key: sys.modules[key] for key in list(sys.modules) if _is_cython(key)}
    for key in displaced:
        del sys.modules[key]
    try:
        sys.modules["cython"] = _StandIn("cython")
        sys.modules["cython.cimports"] = _package("cython.cimports")
        sys.modules["cython.cimports.libc"] = _package("cython.cimports.libc")
        sys.modules["cython.cimports.libc.math"] = math
        for package in ("godb_fast", "godb_fast._kernels"):
            sys.modules[f"cython.cimports.{package}"] = _package(f"cython.cimports.{package}")
        sys.meta_path.insert(0, finder := _CimportFinder(name))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.meta_path.remove(finder)
    except BaseException:
        del sys.modules[full_name], _loaded[topic, name]
        raise
    finally:
        for key in [key for key in sys.modules if _is_cython(key)]:
            del sys.modules[key]
        sys.modules.update(displaced)
    return module


def _is_cython(key: str) -> bool:
    return key == "cython" or key.startswith("cython.")


def _package(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    return module


class _CimportFinder:
    """Resolves ``cython.cimports.godb_fast._kernels.<topic>`` to that topic's module of the same backend."""

    prefix = "cython.cimports.godb_fast._kernels."

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if not fullname.startswith(self.prefix):
            return None
        return importlib.util.spec_from_loader(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        stand_in = ModuleType(spec.name)
        stand_in.__dict__.update(
            {
                key: value
                for key, value in kernels(spec.name.removeprefix(self.prefix), self.backend).__dict__.items()
                if not key.startswith("__")
            }
        )
        return stand_in

    def exec_module(self, module: ModuleType) -> None:
        return None


class _StandIn(ModuleType):
    """What a kernel source sees as ``cython`` when it runs as Python: types and decorators without effect."""

    compiled = False
    NULL = None

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return _Inert()

    @staticmethod
    def cast(type_: object, value: Any, typecheck: bool = False) -> Any:
        return value

    @staticmethod
    def inline(function: Any) -> Any:
        """Remember what Numba must inline too: a call that passes arrays counts references."""
        function.inlined = True
        return function

    @staticmethod
    def declare(type_: object = None, value: Any = None, **names: object) -> Any:
        return value


class _Inert:
    """A type, a decorator or a context manager of Cython that does nothing."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return _Inert()

    def __getitem__(self, item: object) -> _Inert:
        return self

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) == 1 and not keywords and callable(arguments[0]):
            return arguments[0]
        return self

    def __enter__(self) -> _Inert:
        return self

    def __exit__(self, *details: object) -> None:
        return None


def _jit(module: ModuleType) -> None:
    """Replace a module's own functions by Numba dispatchers (compiled at first call, cached on disk)."""
    import numba

    options = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False}
    if isinstance(vars(module).get("lowest"), FunctionType):
        setattr(module, "lowest", _lowest())  # noqa: B010 (mypy knows no such attribute)
    for key, value in list(vars(module).items()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            inline = "always" if getattr(value, "inlined", False) else "never"
            setattr(module, key, numba.njit(inline=inline, **options)(value))


def _lowest() -> Any:
    """One instruction for the number of the lowest bit, as the compiled kernels have it."""
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba import types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def lowest(typing_context: Any, relations: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

        return types.int64(types.int64), generate

    return lowest
