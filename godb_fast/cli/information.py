"""What ``godb-fast info`` shows."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import IO, Any, Final

from godb_fast import __version__, backend
from godb_fast.cli.models import last_training
from godb_fast.errors import BackendUnavailable, InvalidInput, StoreError
from godb_fast.learning.retraining import why_not
from godb_fast.policy import Policy
from godb_fast.store import SqliteStore, open_store

_HERE: Final = Path(__file__).resolve().parents[1]
_REQUIRED: Final = ("numpy", "duckdb", "sqlglot", "onnxruntime", "rich", "platformdirs")
#: Optional package → the extra that brings it.
_OPTIONAL: Final = {
    "numba": "numba",
    "scikit-learn": "train",
    "skl2onnx": "train",
    "psycopg": "postgres",
    "pandas": "bench",
    "pyarrow": "bench",
}


def collect(store: str, url: str | None = None) -> dict[str, Any]:
    """All facts, as plain data. No package is imported to ask for its version.

    Raises
    ------
    InvalidInput, ConnectionFailed
        If there is no database at ``url``.
    """
    return {
        "godb_fast": __version__,
        "python": platform.python_version(),
        "backend": _backend(),
        "packages": {name: _version(name) for name in _REQUIRED},
        "optional": {name: {"version": _version(name), "extra": extra} for name, extra in _OPTIONAL.items()},
        "store": _store(store),
        "retraining": _retraining(),
        "database": None if url is None else _database(url),
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu(),
            "cpus": os.cpu_count(),
            "memory_bytes": _memory(),
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _backend() -> dict[str, Any]:
    unavailable = {name: backend.why_unavailable(name) for name in backend.BACKENDS}
    try:
        selected: str | None = backend.selected()
        problem = None
    except BackendUnavailable as error:
        selected, problem = None, str(error)
    return {
        "selected": selected,
        "problem": problem,
        "named": os.environ.get("GODB_FAST_BACKEND") or None,
        "compiled": unavailable["cython"] is None,
        "unavailable": {name: reason for name, reason in unavailable.items() if reason is not None},
        "imported_from": str(_HERE),
        "installed_elsewhere": _installed_elsewhere(),
    }


def _installed_elsewhere() -> str | None:
    """The folder of an installed package that a checkout stands before."""
    for distribution in distributions(name="godb_fast"):
        folder = Path(str(distribution.locate_file("godb_fast"))).resolve()
        if folder != _HERE and (folder / "__init__.py").is_file():
            return str(folder)
    return None


def _store(target: str) -> dict[str, Any]:
    store = open_store(target)
    if not isinstance(store, SqliteStore):
        return {"path": None, "bytes": 0, "counts": {}, "last_training": None, "problem": None}
    facts: dict[str, Any] = {
        "path": str(store.path),
        "bytes": 0,
        "counts": {},
        "last_training": None,
        "problem": None,
    }
    try:
        facts["bytes"] = store.size_bytes()
        facts["counts"] = store.counts()
        facts["last_training"] = last_training(store.path)
    except (StoreError, OSError) as error:
        facts["problem"] = str(error)
    return facts


def _retraining() -> dict[str, Any]:
    """Whether sessions that say nothing else train models in the background, and why they could not."""
    try:
        wanted, problem = Policy().retrains, why_not()
    except InvalidInput as error:
        wanted, problem = False, str(error)
    return {"on": wanted, "problem": problem}


def _database(url: str) -> dict[str, Any]:
    from godb_fast.cli.commands import open_for_reading, without_password
    from godb_fast.engines.base import TellsFacts

    engine = open_for_reading(url)
    try:
        able = engine.capabilities
        return {
            "url": without_password(url),
            "engine": engine.name,
            "version": engine.version,
            "environment": engine.environment(),
            "join_orders": able.join_trees,
            "reason": able.reason,
            "facts": engine.facts() if isinstance(engine, TellsFacts) else {},
        }
    finally:
        engine.close()


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lower().startswith(("model name", "hardware")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # Not Linux: the platform module's word is all there is.
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def show(facts: dict[str, Any], stream: IO[str]) -> None:
    """Print the facts for people."""

    def line(name: str, value: str) -> None:
        print(f"{name:<18}{value}", file=stream)

    line("godb_fast", f"{facts['godb_fast']} on Python {facts['python']} ({sys.executable})")
    chosen = facts["backend"]
    kinds = {"cython": "compiled", "numba": "jitted", "python": "plain Python: slow, for tests and fallback"}
    if chosen["selected"] is None:
        line("kernels", f"none: {chosen['problem']}")
    else:
        named = " (named by GODB_FAST_BACKEND)" if chosen["named"] else ""
        line("kernels", f"{chosen['selected']}, {kinds[chosen['selected']]}{named}")
    for reason in chosen["unavailable"].values():
        line("", f"not used: {reason}")
    if chosen["installed_elsewhere"] is not None:
        line(
            "",
            f"imported from {chosen['imported_from']} in place of the package that is installed in "
            f"{chosen['installed_elsewhere']}: start Python in another folder to use that",
        )
    line(
        "packages",
        ", ".join(f"{name} {found or 'MISSING'}" for name, found in facts["packages"].items()),
    )
    for name, entry in facts["optional"].items():
        if entry["version"]:
            line("optional", f"{name} {entry['version']}")
        else:
            line("optional", f"{name} not installed: pip install 'godb_fast[{entry['extra']}]'")
    store = facts["store"]
    if store["path"] is None:
        line("store", "off")
    else:
        counts = ", ".join(f"{count} {name}" for name, count in store["counts"].items())
        line("store", f"{store['path']} ({store['bytes'] / 1e6:.1f} MB{'; ' + counts if counts else ''})")
    if store["problem"]:
        line("", store["problem"])
    retraining = facts["retraining"]
    told = (
        "on (GODB_FAST_RETRAIN)" if retraining["on"] else "off; Policy(retrain='on') or GODB_FAST_RETRAIN=on"
    )
    line("retraining", told + (f"; it cannot: {retraining['problem']}" if retraining["problem"] else ""))
    if store["last_training"]:
        line("", f"last training {store['last_training']}; see godb-fast models")
    if facts["database"] is not None:
        for number, text in enumerate(_told(facts["database"])):
            line("" if number else "database", text)
    machine = facts["machine"]
    memory = f", {machine['memory_bytes'] / 2**30:.1f} GiB" if machine["memory_bytes"] else ""
    line("machine", f"{machine['cpu']}, {machine['cpus']} CPUs{memory}, {machine['system']}")


def _told(database: dict[str, Any]) -> list[str]:
    """Lines about a database."""
    lines = [f"{database['engine']} {database['version']}: {database['url']}"]
    lines.append(
        "join orders can be steered"
        if database["join_orders"]
        else f"join orders cannot be steered: {database['reason']}"
    )
    told = database["facts"]
    if not told:
        return lines
    kind = "a superuser" if told["superuser"] else "an ordinary role, which is enough"
    where = [text for text, so in (("a standby", told["standby"]), ("behind a pool", told["pooled"])) if so]
    lines.append(f"role {told['role']}, {kind}; {', '.join([*where, told['encoding']])}")
    lines.append(
        f"{len(told['settings'])} settings can be steered by, work_mem up to {told['work_mem_most_kb']} kB"
        + (f"; not {', '.join(told['settings_denied'])}" if told["settings_denied"] else "")
    )
    never = told["never_analyzed"]
    lines.append(
        f"{told['tables']} tables" + (f", {never} of them never analysed: run ANALYZE" if never else "")
    )
    lines.append(
        "pg_stat_statements is there: godb-fast slow URL ranks what costs most"
        if told["pg_stat_statements"]
        else "no pg_stat_statements here: godb-fast slow URL --log FOLDER ranks a log"
    )
    lines.append("pg_hint_plan is loaded" if told["pg_hint_plan"] else "no pg_hint_plan, and none is needed")
    return lines
