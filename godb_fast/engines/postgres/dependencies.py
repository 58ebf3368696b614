"""What a statement uses of a PostgreSQL database: see :mod:`godb_fast.engines.dependencies`.

One statement asks for what the catalogue's copy does not hold: all indexes of the tables, the parsed form of
views (their printed one depends on the search path), users' functions of the names in the text, and when the
tables were last analysed. A standby does not know that: what it counts is of its own, or, where it was a
primary once, of that time; so there only definitions and rows tell that a proof is old. What a user's
operator, cast or type may run makes a statement unknown (:mod:`~godb_fast.engines.postgres.effects`), so none
of these is part of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from godb_fast.engines.dependencies import Dependencies, digest, named
from godb_fast.engines.postgres.catalogue import PostgresSchema, Relation
from godb_fast.engines.postgres.connection import Ask
from godb_fast.errors import SqlError
from godb_fast.sql.scopes import ascii_lower

#: Views in views.
_MAX_DEPTH: Final = 32
#: The server's own relations change with its version only.
SYSTEM_SCHEMAS: Final = frozenset({"pg_catalog", "information_schema"})
_ABOUT: Final = """
SELECT 'index', i.indrelid::int8, pg_catalog.pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid::text,
       NULL::float8
  FROM pg_catalog.pg_index i WHERE i.indrelid = ANY (%s::oid[])
UNION ALL
SELECT 'view', w.ev_class::int8, pg_catalog.md5(w.ev_action::text), NULL
  FROM pg_catalog.pg_rewrite w WHERE w.ev_class = ANY (%s::oid[])
UNION ALL
SELECT 'function', 0::int8,
       n.nspname::text || '.' || p.proname::text || '(' || p.proargtypes::text || ') ' || p.provolatile::text
         || pg_catalog.md5(p.prosrc), NULL
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.oid >= 16384 AND p.proname = ANY (%s::text[]::name[])
UNION ALL
SELECT 'analyzed', w.oid::int8, NULL, pg_catalog.date_part('epoch', GREATEST(
         pg_catalog.pg_stat_get_last_analyze_time(w.oid),
         pg_catalog.pg_stat_get_last_autoanalyze_time(w.oid)))
  FROM pg_catalog.unnest(%s::oid[]) AS w(oid) WHERE NOT pg_catalog.pg_is_in_recovery()
"""


def dependencies(sql: str, ask: Ask, schema: PostgresSchema, where: tuple[str, ...]) -> Dependencies | None:
    """What a statement uses as the catalogue is; None if it reads a temporary table, or is not read itself.

    Parameters
    ----------
    where : tuple of str
        Server and database, version, and the settings that results depend on.
    """
    relations: dict[int, Relation] = {}
    names: set[str] = set()
    try:
        if not _collect(sql, schema, relations, names, 0):
            return None
    except SqlError:
        return None
    if any(relation.temporary for relation in relations.values()):
        return None
    own = [relation for relation in relations.values() if relation.schema not in SYSTEM_SCHEMAS]
    oids = sorted(relation.oid for relation in own)
    canonical = {relation.oid: f"{schema.database}.{relation.schema}.{relation.name}" for relation in own}
    about: list[Any] = []
    analyzed: list[tuple[str, float]] = []
    for what, oid, text, seconds in ask(_ABOUT, (oids, oids, sorted(names), oids)):
        if what != "analyzed":
            about.append((what, canonical.get(int(oid), ""), text))
        elif seconds is not None:
            analyzed.append((canonical[int(oid)], float(seconds)))
    tables = []
    for relation in own:
        table = schema.table(canonical[relation.oid])
        if table is None:
            # Dropped just now, or one of two that look alike.
            return None
        facts = relation.kind, relation.has_children, relation.row_security
        about.append(("table", repr(replace(table, view_sql=None)), repr(facts)))
        if relation.kind != "v":
            tables.append(table.name)
    about += [("system", relation.schema, relation.name) for relation in relations.values()
              if relation.schema in SYSTEM_SCHEMAS]  # fmt: skip
    return Dependencies(digest(where, sorted(about)), tuple(sorted(tables)), tuple(sorted(analyzed)))


def _collect(
    sql: str, schema: PostgresSchema, relations: dict[int, Relation], names: set[str], depth: int
) -> bool:
    """Gather relations and names of a text and of the views in it; whether all could be read."""
    chains = named(sql, "postgres", ascii_lower)
    if chains is None or depth > _MAX_DEPTH:
        return False
    for chain in chains:
        if len(chain) == 1:
            names.add(chain[0])
        relation = schema.find(chain)
        if relation is None or relation.oid in relations:
            continue
        relations[relation.oid] = relation
        if relation.kind == "v" and relation.schema not in SYSTEM_SCHEMAS:
            table = schema.resolve((relation.schema, relation.name))
            if table is None or table.view_sql is None:
                return False
            if not _collect(table.view_sql, schema, relations, names, depth + 1):
                return False
    return True
