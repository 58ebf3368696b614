"""Loads, when a session is opened, what deciding on a statement needs.

Modules and kernels are imported where they are used, so that ``import godb_fast`` stays light. Without this
the first statement of a process would wait for all of them: some hundred milliseconds on a busy machine.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Final

from godb_fast.backend import kernels
from godb_fast.engines.base import Engine, GetsReady
from godb_fast.errors import EngineError
from godb_fast.policy import Policy
from godb_fast.sql.parsing import parse_statement

log = logging.getLogger("godb_fast")

#: Kernels from a text to a decision, and those that learn from what came of it.
_TOPICS: Final = (
    "assessment",
    "cardinality",
    "columns",
    "costing",
    "drift",
    "enumeration",
    "extraction",
    "features",
    "filters",
    "lexer",
    "plain",
    "planner",
    "replanning",
    "routes",
    "xxh64",
)
_MODULES: Final = (
    "godb_fast.lessons",
    "godb_fast.live_features",
    "godb_fast.recall",
    "godb_fast.rewriting",
    "godb_fast.sql.guards",
    "godb_fast.sql.render",
    "godb_fast.store",
    # By numpy itself, within functions that planning calls.
    "numpy.ma",
)

#: What is loaded: dialect, backend, and whether models may choose.
_ready: set[tuple[str, str | None, bool]] = set()


def make_ready(engine: Engine, policy: Policy, backend: str | None = None) -> None:
    """Load what decisions in the modes ``advise`` and ``steer`` need; no caller's connection is asked.

    Parameters
    ----------
    engine : Engine
    policy : Policy
        What models choose is left out where it forbids that.
    backend : str, optional
        Of the kernels.

    Raises
    ------
    BackendUnavailable
        If the backend was named and cannot be loaded.
    """
    if isinstance(engine, GetsReady):
        try:
            engine.get_ready()
        except EngineError as error:
            # The first statement meets it again, and tells.
            log.debug("not ready: %s", error)
    key = (engine.dialect, backend, policy.untried != "off")
    if key in _ready:
        return
    for module in _MODULES:
        import_module(module)
    for topic in _TOPICS:
        kernels(topic, backend)
    if policy.untried != "off":
        import_module("godb_fast.untried")
        kernels("ensemble", backend)
        kernels("forest", backend)
    # The parser loads a dialect when it meets its first text.
    parse_statement("SELECT 1", engine.dialect)
    _ready.add(key)
