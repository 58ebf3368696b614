"""A statement under a steering, as PostgreSQL follows it without any extension.

Join orders are written as explicit JOINs, which the planner keeps under ``join_collapse_limit = 1``. It still
chooses the side that is hashed. Where a steered block is a derived table or a subquery, ``from_collapse_limit
= 1`` keeps the planner from merging its joins into the query around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from godb_fast.core import Steering, Template
from godb_fast.engines.base import Parameters, Rendered
from godb_fast.engines.postgres.parameters import doubled, named, placed
from godb_fast.engines.postgres.settings import JOIN_ORDER, KEEP_DERIVED, SteeringSettings, statement
from godb_fast.engines.postgres.statements import comment_end
from godb_fast.errors import InvalidInput

#: Roles of blocks whose joins the planner may merge into those of the block around them.
_MERGED: Final = frozenset({"derived", "subquery", "view", "cte"})
#: A parameter that psycopg does not know.
_FOREIGN: Final = re.compile(r"[?:@].*", re.DOTALL)


def render_steered(
    template: Template,
    literals: Sequence[Any],
    steering: Steering,
    params: Parameters,
    settings: SteeringSettings,
    *,
    numbers: bool,
    hints: bool,
) -> Rendered:
    """The statement under a steering, with the settings that make PostgreSQL follow it.

    Parameters
    ----------
    numbers : bool
        The connection's cursors take ``$1``, not ``%s``.
    hints : bool
        pg_hint_plan is loaded.

    Raises
    ------
    InvalidInput
        If the steering does not fit the template or this server.
    """
    # sqlglot comes with it: only once something is rendered.
    from godb_fast.sql.render import render

    wanted = list(steering.settings)
    if steering.join_trees:
        wanted.append(JOIN_ORDER)
        if any(_is_merged(template, index) for index, _ in steering.join_trees):
            wanted.append(KEEP_DERIVED)
    before = tuple(statement(name, value) for name, value in settings.check(wanted))
    kinds = [slot.kind for slot in template.slots]
    if len(literals) != len(kinds):
        raise InvalidInput(f"{len(literals)} literals for the {len(kinds)} slots of the template")
    if numbers or params is None:
        sql, bound = render(template, literals, steering), params
    else:
        texts = placed(literals, kinds, params)
        for text, kind in zip(texts, kinds, strict=True):
            if kind == "parameter" and _FOREIGN.fullmatch(text):
                raise InvalidInput(f"psycopg takes parameters as %s, %(name)s or $1, not as {text}")
        sql, bound = doubled(render(template, texts, steering)), named(params)
    if steering.hints:
        if not hints:
            raise InvalidInput("this server has no pg_hint_plan, so it takes no hints")
        sql = f"{hint_comment(steering.hints)} {sql}"
    return Rendered(sql=sql, params=bound, before=before, steering=steering)


def _is_merged(template: Template, index: int) -> bool:
    return 0 <= index < len(template.blocks) and template.blocks[index].role in _MERGED


def hint_comment(hints: Sequence[str]) -> str:
    """Hints as the comment that pg_hint_plan reads at the head of a statement.

    Raises
    ------
    InvalidInput
        If a hint would end the comment, or begin another.
    """
    for hint in hints:
        if "*/" in hint or "/*" in hint or "\0" in hint:
            raise InvalidInput(f"hint {hint!r} cannot stand in a comment")
    return f"/*+ {' '.join(hints)} */"


def leading_comments(sql: str) -> str:
    """Comments in front of a statement, as tracing tools put them there, with the space around them.

    Empty if there are none; hints to pg_hint_plan count as part of the statement.
    """
    place = 0
    end = 0
    while place < len(sql):
        if sql[place].isspace():
            place += 1
        elif sql.startswith("--", place):
            line = sql.find("\n", place)
            end = place = len(sql) if line < 0 else line + 1
        elif sql.startswith("/*", place) and not sql.startswith("/*+", place):
            place += comment_end(sql[place:])
            end = place
        else:
            break
    if end == len(sql):
        return ""
    return sql[:end] + ("" if not end or sql[end - 1].isspace() else " ")
