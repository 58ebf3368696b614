"""Checks a built wheel: kernels compiled and stripped, their sources beside them, models in, no generated C."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOPICS = {path.stem for path in (ROOT / "src_ext").glob("*.py")}
MODELS = {path.relative_to(ROOT / "models").as_posix() for path in (ROOT / "models").glob("*/*/*.*")}


def problems(wheel: Path) -> list[str]:
    """What is wrong with a wheel; empty if nothing is."""
    found = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        found += [f"generated source {name}" for name in names if name.endswith((".c", ".html"))]
        found += [
            f"stray file {name}" for name in names if name.split("/")[0] in {"tests", "benchmarks", "build"}
        ]
        kernels = {Path(name).name.split(".")[0] for name in names if name.endswith((".so", ".pyd"))}
        sources = {Path(name).stem for name in names if "/_kernels/" in name and name.endswith(".py")}
        found += [f"kernel {topic!r} is not compiled" for topic in sorted(TOPICS - kernels)]
        found += [f"kernel {topic!r} has no source" for topic in sorted(TOPICS - sources)]
        found += [f"model {name} is missing" for name in MODELS if f"godb_fast/_models/{name}" not in names]
        if "godb_fast/py.typed" not in names:
            found.append("py.typed is missing")
        if not any(name.endswith("LICENSE") for name in names):
            found.append("LICENSE is missing")
        for name in names:
            if name.endswith(".so"):
                binary = Path(archive.extract(name, folder)).read_bytes()
                # A stripped library has no symbol table section; its string table would name it.
                if b".symtab" in binary:
                    found.append(f"{name} is not stripped")
    return found


def main() -> None:
    bad = [f"{name}: {problem}" for name in sys.argv[1:] for problem in problems(Path(name))]
    print(
        "\n".join(bad) or f"{len(sys.argv) - 1} wheel(s) hold what they should: {', '.join(sorted(TOPICS))}"
    )
    sys.exit(bool(bad) or not sys.argv[1:])


if __name__ == "__main__":
    main()
