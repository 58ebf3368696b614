"""Builds the kernels of ``src_ext/`` into ``godb_fast._kernels``; everything else is in pyproject.toml.

``GODB_FAST_NO_EXT=1`` builds no extensions (Numba or Python run the same sources).
``GODB_FAST_REQUIRE_EXT=1`` makes a failed build an error instead of a warning.

The sources are staged under ``build/`` in a folder named like the package, because Cython ignores the
types of a ``.pxd`` that does not lie where its package name says; no generated ``.c`` file ever lies
beside the sources or in a wheel.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src_ext"
MODELS = ROOT / "models"
STAGE = Path("build") / "staged"
PACKAGE = "godb_fast._kernels"
NO_EXT = os.environ.get("GODB_FAST_NO_EXT") == "1"
REQUIRE_EXT = os.environ.get("GODB_FAST_REQUIRE_EXT") == "1"

if NO_EXT and REQUIRE_EXT:
    sys.exit("GODB_FAST_NO_EXT=1 and GODB_FAST_REQUIRE_EXT=1 contradict each other: unset one")


def shipped_models() -> list[Path]:
    """Files of the models that ship: ``<name>/<version>/{model.onnx, card.json}``."""
    return sorted([*MODELS.glob("*/*/model.onnx"), *MODELS.glob("*/*/card.json")])


def topics() -> list[str]:
    return sorted(path.stem for path in SOURCES.glob("*.py"))


def stage() -> Path:
    """Copy the kernel sources to a tree that mirrors the package, if they changed."""
    folder = ROOT / STAGE / "godb_fast" / "_kernels"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    for source in [*SOURCES.glob("*.py"), *SOURCES.glob("*.pxd")]:
        target = folder / source.name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)
    return folder


def compile_arguments() -> tuple[list[str], list[str]]:
    if sys.platform == "win32":
        return ["/O2", "/fp:precise"], []
    # No contraction to fused multiply-add: all backends agree to the bit. Functions start on cache lines, so
    # that an edit elsewhere does not move an inner loop, which is worth up to a third of its time.
    flags = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-falign-functions=64"]
    return flags, ["-Wl,-s"] if sys.platform == "linux" else []


def extensions() -> list[Extension]:
    if NO_EXT:
        return []
    try:
        from Cython.Build import cythonize
    except ImportError as error:
        if REQUIRE_EXT:
            raise
        print(f"warning: building without compiled kernels: {error}", file=sys.stderr)
        return []
    stage()
    compile_args, link_args = compile_arguments()
    modules = [
        Extension(
            f"{PACKAGE}.{topic}",
            [(STAGE / "godb_fast" / "_kernels" / f"{topic}.py").as_posix()],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            optional=not REQUIRE_EXT,
        )
        for topic in topics()
    ]
    return cythonize(  # type: ignore[no-any-return]
        modules,
        include_path=[str(STAGE)],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "annotation_typing": True,
            "infer_types": False,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    )


class BuildKernels(build_ext):
    """A missing or failing compiler costs speed, never the installation."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count() or 1

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if REQUIRE_EXT:
                raise
            print(f"warning: building without compiled kernels: {error}", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:
        if self.extensions:
            super().copy_extensions_to_source()


class BuildPackage(build_py):
    """Puts the kernels' sources beside the compiled ones (Python and Numba run them), and the models in."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "godb_fast" / "_kernels"
            target.mkdir(parents=True, exist_ok=True)
            for source in [*SOURCES.glob("*.py"), *SOURCES.glob("*.pxd")]:
                shutil.copyfile(source, target / source.name)
            for source in shipped_models():
                place = Path(self.build_lib) / "godb_fast" / "_models" / source.relative_to(MODELS)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)

    def get_source_files(self) -> list[str]:
        others = [*SOURCES.glob("*.py"), *SOURCES.glob("*.pxd"), *shipped_models()]
        return [*super().get_source_files(), *(str(path.relative_to(ROOT)) for path in others)]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels, "build_py": BuildPackage})
