"""DuckDB's catalogue: names resolved as DuckDB does, and an epoch that changes with them."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from typing import Any, Final

from godb_fast.core import Table
from godb_fast.engines.duckdb.connection import Connection

#: Everything is qualified: a user's macro takes the place of a built-in function of the same name.
#: Join-free, so that it is planned well under any settings. 2.0 keeps a table's oid through ALTER TABLE, so
#: the statement that made it is compared.
_EPOCH: Final = """
SELECT 't', system.main.count(*),
       system.main.bit_xor(system.main.hash(database_name, schema_name, table_name, "sql"))
  FROM system.main.duckdb_tables()
UNION ALL
SELECT 'v', system.main.count(*),
       system.main.bit_xor(system.main.hash(database_name, schema_name, view_name, "sql"))
  FROM system.main.duckdb_views() WHERE NOT internal
UNION ALL
SELECT 'd', system.main.count(*),
       system.main.bit_xor(system.main.hash(database_name, path, type, readonly))
  FROM system.main.duckdb_databases()
UNION ALL
SELECT 's', 0, system.main.hash(system.main.current_setting('search_path'),
                                system.main.current_database(), system.main.current_schema())
"""
#: Users' functions; listing DuckDB's 2000 own ones with them costs about 15 ms.
_FUNCTIONS: Final = """
SELECT system.main.count(*),
       system.main.bit_xor(system.main.hash(database_name, schema_name, function_name, function_type,
                                            parameters, macro_definition))
  FROM system.main.duckdb_functions() WHERE NOT internal
"""
_INDEXES: Final = """
SELECT database_name, schema_name, table_name, "sql" FROM system.main.duckdb_indexes()
"""
_COLUMNS: Final = """
SELECT database_name, schema_name, table_name, system.main.list(column_name ORDER BY column_index),
       system.main.list(data_type ORDER BY column_index)
  FROM system.main.duckdb_columns() GROUP BY ALL
"""


def schema_epoch(connection: Connection, *, functions: bool) -> str:
    """A hash of what names can resolve to on this connection; with or without users' functions."""
    parts: list[Any] = sorted(connection.query(_EPOCH))
    if functions:
        parts.extend(connection.query(_FUNCTIONS))
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


class DuckDBSchema:
    """The catalogue as one connection sees it, read at once.

    Tables of attached databases of other kinds (SQLite, PostgreSQL …) are not resolved: they can change
    unseen.
    """

    def __init__(self, connection: Connection, epoch: str) -> None:
        self.epoch = epoch
        self._path = _search_path(connection)
        databases = connection.query("SELECT database_name, type, path FROM system.main.duckdb_databases()")
        kinds = {name: kind for name, kind, _ in databases}
        files = {name: os.path.abspath(path) if path else "" for name, _, path in databases}
        statements = {
            (database, schema, name): (sql, temporary)
            for database, schema, name, sql, temporary in connection.query(
                "SELECT database_name, schema_name, table_name, sql, temporary "
                "FROM system.main.duckdb_tables()"
            )
        }
        views = {
            (database, schema, name): (sql, temporary, internal)
            for database, schema, name, sql, temporary, internal in connection.query(
                "SELECT database_name, schema_name, view_name, sql, temporary, internal "
                "FROM system.main.duckdb_views()"
            )
        }
        unique: dict[tuple[str, str, str], list[tuple[str, ...]]] = {}
        not_null: dict[tuple[str, str, str], set[str]] = {}
        for database, schema, name, kind, columns in connection.query(
            "SELECT database_name, schema_name, table_name, constraint_type, constraint_column_names "
            "FROM system.main.duckdb_constraints()"
        ):
            key = (database, schema, name)
            if kind in ("PRIMARY KEY", "UNIQUE"):
                unique.setdefault(key, []).append(tuple(columns))
            if kind in ("PRIMARY KEY", "NOT NULL"):
                not_null.setdefault(key, set()).update(columns)
        self._tables: dict[tuple[str, str, str], Table] = {}
        self._by_name: dict[str, Table | None] = {}
        self._schemas: set[tuple[str, str]] = set()
        self._views: dict[str, str | None] = {}
        self._generated: dict[str, tuple[str, ...]] = {}
        self._collated: set[str] = set()
        self._made_by: dict[str, str] = {}
        self._files: dict[str, str] = {}
        for database, schema, name, columns, types in connection.query(_COLUMNS):
            key = (database, schema, name)
            if kinds.get(database) != "duckdb":
                continue
            view = views.get(key)
            body = view_body(view[0]) if view is not None and not view[2] else None
            table = Table(
                name=f"{database}.{schema}.{name}",
                columns=tuple(columns),
                types=tuple(types),
                view_sql=body[0] if body is not None and not body[1] else None,
                unique=tuple(sorted(set(unique.get(key, ())))),
                not_null=frozenset(not_null.get(key, ())),
                temporary=bool(view[1] if view is not None else statements.get(key, ("", False))[1]),
            )
            self._tables[(database.lower(), schema.lower(), name.lower())] = table
            # A name with dots in it may look like another: neither is then known by its canonical name.
            self._by_name[table.name] = None if table.name in self._by_name else table
            self._schemas.add((database.lower(), schema.lower()))
            if view is not None:
                self._views[table.name] = body[0] if body is not None else None
            made_by = statements.get(key, ("", False))[0] or ""
            self._made_by[table.name] = made_by if view is None else view[0] or ""
            self._files[table.name] = files.get(database, "")
            if "GENERATED ALWAYS AS" in made_by:
                self._generated[table.name] = generated_expressions(made_by)
            if " COLLATE " in made_by:
                self._collated.add(table.name)

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """The table or view that a (qualified) name means, or None."""
        names = tuple(part.lower() for part in parts)
        if len(names) == 1:
            for database, schema in self._path:
                found = self._tables.get((database, schema, names[0]))
                if found is not None:
                    return found
        elif len(names) == 2:
            by_schema = [
                self._tables.get((database, names[0], names[1]))
                for database in dict.fromkeys(database for database, _ in self._path)
            ]
            found = next((table for table in by_schema if table is not None), None)
            return found or self._tables.get((names[0], "main", names[1]))
        elif len(names) == 3:
            return self._tables.get((names[0], names[1], names[2]))
        return None

    def table(self, name: str) -> Table | None:
        """A table or view by its canonical name."""
        return self._by_name.get(name)

    def is_view(self, table: Table) -> bool:
        """Whether it is a view, DuckDB's own ones included."""
        return table.name in self._views

    def body(self, table: Table) -> str | None:
        """The SELECT behind a user's view."""
        return self._views.get(table.name)

    def made_by(self, table: Table) -> str:
        """The statement that made a table or view, as DuckDB prints it."""
        return self._made_by.get(table.name, "")

    def file(self, table: Table) -> str:
        """The file of a table's database; empty of one in memory."""
        return self._files.get(table.name, "")

    def generated(self, table: Table) -> tuple[str, ...]:
        """Expressions of a table's generated columns: reading the table evaluates them."""
        return self._generated.get(table.name, ())

    def collated(self, table: Table) -> bool:
        """Whether a column has a collation: equal values may then differ in their text."""
        return table.name in self._collated

    def near(self, name: str) -> tuple[str, ...]:
        """Names of tables like the given one, best first."""
        short: dict[str, str] = {}
        for (database, schema, _), table in self._tables.items():
            if database not in ("system", "temp") or (database == "temp" and schema == "main"):
                plain = table.name.split(".", 2)[-1]
                short.setdefault(plain.lower(), plain)
        return tuple(
            short[found] for found in difflib.get_close_matches(name.lower(), short, n=3, cutoff=0.5)
        )


def read_indexes(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Statements that made indexes, by canonical name of their table."""
    found: dict[str, list[str]] = {}
    for database, schema, name, sql in connection.query(_INDEXES):
        found.setdefault(f"{database}.{schema}.{name}", []).append(sql or "")
    return {name: tuple(sorted(statements)) for name, statements in found.items()}


def _search_path(connection: Connection) -> tuple[tuple[str, str], ...]:
    setting, database, schema = connection.query(
        "SELECT system.main.current_setting('search_path'), system.main.current_database(), "
        "system.main.current_schema()"
    )[0]
    path = [("temp", "main")]
    for entry in _split(str(setting or ""), ","):
        parts = _split(entry, ".")
        path.append((parts[0], parts[1]) if len(parts) == 2 else (str(database), parts[0]))
    path.append((str(database), str(schema)))
    path.extend([(str(database), "main"), ("system", "main"), ("system", "pg_catalog")])
    return tuple(dict.fromkeys((one.lower(), two.lower()) for one, two in path))


def _split(text: str, separator: str) -> list[str]:
    pattern = rf'(?:"(?:[^"]|"")*"|[^"{re.escape(separator)}])+'
    found = [part.strip() for part in re.findall(pattern, text)]
    return [
        part[1:-1].replace('""', '"') if separator == "." and part[:1] == part[-1:] == '"' else part
        for part in found
        if part
    ]


def _tokens(sql: str) -> list[re.Match[str]]:
    return list(re.finditer(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|\S""", sql))


def view_body(create: str) -> tuple[str, bool] | None:
    """The SELECT of a ``CREATE VIEW`` statement as DuckDB prints it, and whether it renames columns."""
    depth = 0
    for token in _tokens(create):
        text = token[0]
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth == 0 and text.upper() == "AS":
            body = create[token.end() :].strip().rstrip(";").strip()
            return body, create[: token.start()].rstrip().endswith(")")
    return None


def generated_expressions(create: str) -> tuple[str, ...]:
    """What stands in ``GENERATED ALWAYS AS (…)`` of a ``CREATE TABLE`` statement."""
    found: list[str] = []
    tokens = _tokens(create)
    words = [token[0].upper() for token in tokens]
    for position in range(len(tokens) - 3):
        if words[position : position + 4] != ["GENERATED", "ALWAYS", "AS", "("]:
            continue
        depth = 0
        for token in tokens[position + 3 :]:
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if depth == 0:
                found.append(create[tokens[position + 3].start() : token.end()])
                break
    return tuple(found)
