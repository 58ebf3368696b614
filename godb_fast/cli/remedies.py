"""What can be done for a statement without us, the least intrusive first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from godb_fast.cli.statistics_trials import extended, try_statistics
from godb_fast.engines.cutting import as_asked
from godb_fast.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from godb_fast.core import Template
    from godb_fast.engines.base import Engine
    from godb_fast.knowledge import Prepared

#: From this version on pg_hint_plan's table is looked up by query id, before by the statement's text.
_BY_QUERY_ID: Final = 170000


@dataclass(frozen=True)
class Remedy:
    """One way to get the verified plan: SQL, its risk, what undoes it, and what is known of it."""

    title: str
    change: tuple[str, ...]
    risk: str
    undo: tuple[str, ...]
    standing: str


def remedies(sql: str, prepared: Prepared, engine: Engine, url: str, *, trying: bool) -> list[Remedy]:
    """All ways, the least intrusive first; the last one is the statement as it is sent."""
    found: list[Remedy] = []
    known = prepared.known
    if engine.dialect == "postgres" and known is not None:
        if not prepared.decision.steering.rewrites:
            found += _statistics(sql, prepared, known.template, engine, url, trying=trying)
            found += _role(prepared, engine)
            found += _hint_table(sql, prepared, known.template, engine)
        elif trying:
            found.append(
                _none("better statistics", "not tried: no statistics give the statement other words")
            )
    found.append(_text(sql, prepared, engine))
    return found


def _none(title: str, standing: str) -> Remedy:
    return Remedy(title, (), "", (), standing)


def _statistics(
    sql: str, prepared: Prepared, template: Template, engine: Any, url: str, *, trying: bool
) -> Iterator[Remedy]:
    risk = (
        "Plans of other statements on the table may change too. ANALYZE samples the table; DDL, VACUUM and "
        "other ANALYZE of it wait meanwhile, reads and writes do not."
    )
    if not trying:
        for change in extended(template, engine.schema()):
            yield Remedy(
                change.title,
                tuple(change.script()),
                risk,
                change.undo,
                "Untried suggestion: the statement filters or groups by these columns together. "
                "`--try-statistics` finds out whether it leads to the verified plan.",
            )
        return
    verified = engine.explain_steered(prepared.rendered).digest()
    trial = try_statistics(url, sql, template, verified)
    if trial.found is not None:
        yield Remedy(
            trial.found.title,
            tuple(trial.found.script()),
            risk,
            trial.found.undo,
            "Tried, and rolled back: with it the engine's own plan is the verified one.",
        )
    elif trial.problem is not None:
        yield _none("better statistics", f"Could not be tried: {trial.problem}")
    else:
        yield _none(
            "better statistics",
            f"Tried in {trial.tried} ways, and rolled back: none leads to the verified plan.",
        )


def _role(prepared: Prepared, engine: Engine) -> Iterator[Remedy]:
    steering = prepared.decision.steering
    if not steering.settings or steering.join_trees:
        return
    role, database = _ask(engine, "SELECT quote_ident(current_user), quote_ident(current_database())")
    where = f"ALTER ROLE {role} IN DATABASE {database}"
    yield Remedy(
        "settings of the role that runs it",
        tuple(f"{where} SET {name} = '{value}';" for name, value in steering.settings),
        "All statements of this role in this database get the settings, from the next connection on: give "
        "this one a role of its own.",
        tuple(f"{where} RESET {name};" for name, _ in steering.settings),
        "The plan was verified under these settings; what else the role runs was not.",
    )


def _hint_table(sql: str, prepared: Prepared, template: Template, engine: Engine) -> Iterator[Remedy]:
    from godb_fast.engines.postgres.hints import hints_of

    try:
        hints = " ".join(hints_of(template, prepared.decision.steering))
    except InvalidInput as error:
        yield _none("a row in pg_hint_plan's hint table", f"Cannot be written as hints: {error}")
        return
    version = int(_ask(engine, "SELECT current_setting('server_version_num')")[0])
    installed = _ask(engine, "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_hint_plan'")[0]
    literal = hints.replace("'", "''")
    if version >= _BY_QUERY_ID:
        # The id is computed with compute_query_id on, which a role may not be allowed to set.
        key, value = "query_id", ":query_id"
        lines = [
            "-- :query_id is the 'Query Identifier' that this prints (compute_query_id = on):",
            f"EXPLAIN (VERBOSE) {sql.strip().rstrip(';')};",
        ]
    else:
        key, value = "norm_query_string", ":statement"
        lines = ["-- :statement is its text with ? for every constant, as pg_stat_statements shows $1, $2, …"]
    yield Remedy(
        "a row in pg_hint_plan's hint table",
        (
            *lines,
            "SET pg_hint_plan.enable_hint_table = on;  -- for good: in postgresql.conf",
            f"INSERT INTO hint_plan.hints ({key}, application_name, hints)",
            f"  VALUES ({value}, '', '{literal}');",
        ),
        "Only this statement changes, whatever its constants; the row stays when data and versions change. "
        + ("The extension is there." if installed else "This server has not the extension."),
        (f"DELETE FROM hint_plan.hints WHERE {key} = {value};",),
        "Untried: the same order and settings were verified, not the extension.",
    )


def _text(sql: str, prepared: Prepared, engine: Engine) -> Remedy:
    sent = prepared.rendered
    changed = as_asked(sent, engine.dialect).strip().rstrip(";") != sql.strip().rstrip(";")
    risk = (
        "The application sends other text; its answer is the same." if changed else "The text stays as it is."
    )
    if sent.cut is not None:
        risk += (
            " Rows that tie where LIMIT cuts may be others: we look at the rows, and nobody does without us."
        )
    if sent.before and engine.dialect == "postgres":
        risk += " SET LOCAL ends with the transaction: no other statement's plan changes."
    elif sent.before:
        risk += " The settings hold for the whole instance: others that run meanwhile change."
    return Remedy(
        "the statement as the application sends it",
        tuple(without_us(prepared, engine)),
        risk,
        (f"{sql.strip().rstrip(';')};",),
        "This is what was verified.",
    )


def without_us(prepared: Prepared, engine: Engine) -> Iterator[str]:
    """The statements that do the same without us."""
    sent = prepared.rendered
    text = as_asked(sent, engine.dialect).strip().rstrip(";")
    if not sent.before:
        yield f"{text};"
        return
    if engine.dialect == "postgres":
        # Within the transaction only: nobody else's plans change.
        yield "BEGIN READ ONLY;"
        yield from (f"{statement};" for statement in sent.before)
        yield f"{text};"
        yield "COMMIT;"
        return
    yield "-- these settings hold for the whole instance until they are reset"
    yield from (f"{statement};" for statement in sent.before)
    yield f"{text};"
    yield from (f"RESET {name};" for name in _names(sent.before))


def _names(before: tuple[str, ...]) -> Iterator[str]:
    for statement in before:
        words = statement.replace("=", " ").split()
        yield words[2] if words[1].upper() in ("LOCAL", "GLOBAL", "SESSION") else words[1]


def _ask(engine: Engine, sql: str) -> tuple[Any, ...]:
    from godb_fast.engines.base import Rendered

    rows = engine.run(Rendered(sql), timeout_s=10.0).rows
    if not rows:
        raise EngineError(f"no answer to {sql}")
    return tuple(rows[0])


__all__ = ["Remedy", "remedies", "without_us"]
