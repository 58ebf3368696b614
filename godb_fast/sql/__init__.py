"""Text in, structure out, and back: the room between SQL and graphs.

``fingerprint`` reads a statement in one native call; ``parse_template`` parses what has not been seen before
(once per fingerprint) into a tree of blocks with join graphs; ``render`` writes a statement under a
steering. Nothing here knows costs, statistics or engines, and sqlglot is imported only when something is
parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from godb_fast.sql.fingerprint import Fingerprint, beyond_limits, fingerprint, is_query
from godb_fast.sql.literals import literal_value
from godb_fast.sql.tokens import abridged

if TYPE_CHECKING:
    from godb_fast.core import Schema, Steering, Template

__all__ = [
    "Fingerprint",
    "abridged",
    "beyond_limits",
    "fingerprint",
    "is_query",
    "literal_value",
    "parse_template",
    "render",
]


def parse_template(statement: Fingerprint | str | bytes, dialect: str, schema: Schema) -> Template:
    """Template of a statement: see :func:`godb_fast.sql.parsing.parse_template`."""
    from godb_fast.sql.parsing import parse_template as parse

    return parse(statement, dialect, schema)


def render(
    template: Template,
    literals: Sequence[str | Sequence[str]],
    steering: Steering,
    dialect: str | None = None,
) -> str:
    """Text of a statement under a steering: see :func:`godb_fast.sql.render.render`."""
    from godb_fast.sql.render import render as write

    return write(template, literals, steering, dialect)
