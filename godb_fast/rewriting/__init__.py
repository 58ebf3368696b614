"""Queries in other words: rules with written preconditions, guards and proofs.

A rule looks at a template's syntax tree and the schema, never at data, and offers the whole statement
changed. What cannot be proven to give the same rows is not offered; which offer is faster is for others to
measure. ``rewrites`` finds all of a template, once; each is kept as text with slots, so that a call with
other literals is rendered without a parser. A proof that
rests on a literal's value is a guard, evaluated at every call.

To add a rule: a file with a class that is a :class:`~godb_fast.rewriting.base.Rule`, a line in
``applying.rules``, and tests that try to break it on both engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from godb_fast.core import Guard, Rewrite

if TYPE_CHECKING:
    from godb_fast.core import Schema, Steering, Template

__all__ = ["Guard", "Rewrite", "rewrites", "rewritten"]


def rewrites(template: Template, schema: Schema) -> tuple[Rewrite, ...]:
    """Rewrites of a template: see :func:`godb_fast.rewriting.applying.rewrites`."""
    from godb_fast.rewriting.applying import rewrites as find

    return find(template, schema)


def rewritten(
    template: Template, schema: Schema, literals: Sequence[str | Sequence[str]], steering: Steering
) -> str:
    """Text of a statement under a steering's rewrites.

    Raises
    ------
    InvalidInput
        If a rewrite is unknown, or these literals break one of its guards.
    """
    from godb_fast.sql.render import render

    rewrites(template, schema)
    return render(template, literals, steering)
