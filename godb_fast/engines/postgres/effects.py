"""Whether a statement only reads, and whether its answer is the same under every plan.

PostgreSQL has no parser that SQL can reach, so the text is read twice, once for each kind of mistake: its
tokens by our own lexer, which knows PostgreSQL's strings and identifiers exactly, and its structure by
sqlglot. Every name that stands before a parenthesis is looked up in ``pg_proc``, whatever the parser takes it
for; a name that the parser takes for a function and the catalogue does not have makes the statement unknown.
Unknown means: run once, unchanged.

What runs functions unnamed is looked at as well: users' operators, casts and types, checks of domains, row
security policies, views (their bodies are judged as text), and attributes that are functions (``t.f``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from godb_fast.engines.base import Effects
from godb_fast.engines.postgres.catalogue import PostgresSchema, Relation, truncated
from godb_fast.engines.postgres.connection import Ask
from godb_fast.engines.postgres.functions import (
    EXTENSIONS,
    FUNCTIONS_SQL,
    ORDER_DEPENDENT,
    ROW_FUNCTIONS,
    STATE,
    SYNTAX,
    USERS_PARAMETERS,
    USERS_SQL,
    Function,
)
from godb_fast.errors import GodbError
from godb_fast.sql.fingerprint import beyond_limits, fingerprint, has_several_statements
from godb_fast.sql.order import cut_of, order_sensitivity
from godb_fast.sql.scopes import ascii_lower, below
from godb_fast.sql.tokens import Tokens, read

_QUERIES: Final = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_ACTS: Final = (
    exp.Alter, exp.Command, exp.Copy, exp.Create, exp.Delete, exp.Drop, exp.Insert, exp.Into, exp.Lock,
    exp.Merge, exp.Set, exp.TruncateTable, exp.Update,
)  # fmt: skip
#: Words that only writing statements have, but for columns of these names.
_WRITES: Final = frozenset({"insert", "update", "delete", "merge", "into"})
#: Operators that may be meant without being written: by LIKE, IN, BETWEEN, DISTINCT, GROUP BY, ORDER BY.
_IMPLIED: Final = frozenset({"=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*"})
_CASTS: Final = frozenset({"::", "cast"})
_SYSTEM_SCHEMAS: Final = frozenset({"pg_catalog", "information_schema"})
_MAX_DEPTH: Final = 32

#: About the tables that a statement reads: policies (through a view, those for its owner), foreign tables (as
#: partitions too), and columns whose equal values may differ in their text.
_TABLES_SQL: Final = """
WITH RECURSIVE parts(root, oid) AS (
  SELECT w.oid, w.oid FROM pg_catalog.unnest(%s::oid[]) AS w(oid)
  UNION
  SELECT p.root, i.inhrelid FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)
SELECT 'policy', w.root::int8, pg_catalog.pg_get_expr(p.polqual, p.polrelid)
  FROM parts w JOIN pg_catalog.pg_policy p ON p.polrelid = w.oid
       JOIN pg_catalog.pg_class c ON c.oid = w.oid
 WHERE w.root = w.oid AND p.polqual IS NOT NULL AND c.relrowsecurity
   AND (%s::boolean OR pg_catalog.row_security_active(w.oid))
UNION ALL
SELECT 'foreign', w.root::int8, d.fdwname::text
  FROM parts w JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = w.oid
       JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
       JOIN pg_catalog.pg_foreign_data_wrapper d ON d.oid = s.srvfdw
UNION ALL
SELECT 'collation', w.root::int8, a.attname::text
  FROM parts w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid
       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
 WHERE w.root = w.oid AND a.attnum > 0 AND NOT a.attisdropped
   AND (NOT c.collisdeterministic OR t.typname = 'citext')
"""


class _Impure(Exception):
    """Why a statement is not certain to only read."""


def judge(sql: str, ask: Ask, schema: PostgresSchema) -> Effects:
    """Whether ``sql`` only reads and may be steered.

    Asks the server once or twice (once more for each level of views), and once per state of the catalogue.

    Parameters
    ----------
    schema : PostgresSchema
        The catalogue at the current epoch; what users made is remembered with it.
    """
    try:
        walk = _Walk(ask, schema)
        walk.text(sql, 0)
        walk.settle()
    except _Impure as reason:
        return Effects(pure=False, reason=str(reason))
    except RecursionError:
        return Effects(pure=False, reason="nested too deeply to be judged")
    doubt = walk.doubts[0] if walk.doubts else walk.uncertain_cut
    return Effects(pure=True, steerable=not doubt, reason=doubt, checkable=bool(doubt) and not walk.doubts)


class _Walk:
    """One pass over a statement and the views that it reads."""

    def __init__(self, ask: Ask, schema: PostgresSchema) -> None:
        self._ask = ask
        self._schema = schema
        self._seen: set[int] = set()
        self._judged: set[tuple[str | None, str]] = set()
        self._texts: list[str] = []
        self._words: set[str] = set()
        self._types: list[str] = []
        #: Why the answer may depend on the plan.
        self.doubts: list[str] = []
        #: The same of the statement's own LIMIT, where an answer shows whether it did.
        self.uncertain_cut = ""

    # -- texts --------------------------------------------------------------------------------------

    def text(self, sql: str, depth: int) -> None:
        """Judge a SELECT's text."""
        if depth > _MAX_DEPTH:
            raise _Impure("views are nested too deeply")
        tokens, nodes = _parsed(sql)
        words = _names(tokens)
        self._texts.append(tokens.parse_text)
        self._words.update(word for word in words if word is not None)
        _check_words(tokens)
        for node in nodes:
            if isinstance(node, _ACTS):
                raise _Impure(f"it holds {type(node).__name__.upper()}")
            if isinstance(node, exp.Collate):
                self.doubts.append("COLLATE may make different texts equal")
        sensitive = order_sensitivity(nodes, "postgres", self._schema)
        if sensitive is not None:
            cut = cut_of(nodes[0], nodes, "postgres", self._schema) if depth == 0 else None
            if cut is not None:
                self.uncertain_cut = sensitive
            else:
                self.doubts.append(sensitive)
        self._functions(tokens, words, nodes)
        self._relations(tokens, words, nodes, depth)

    def _functions(self, tokens: Tokens, words: Sequence[str | None], nodes: Sequence[Any]) -> None:
        called: set[tuple[str | None, str]] = set()
        attributes: set[str] = set()
        for place, word in enumerate(words):
            if word is None:
                continue
            after_dot = place > 0 and tokens.words[place - 1] == "."
            if place + 1 < len(words) and tokens.words[place + 1] == "(":
                called.add((words[place - 2] if after_dot and place > 1 else None, word))
            elif after_dot:
                attributes.add(word)
        named = {node.name for node in nodes if isinstance(node, exp.Anonymous)}
        named |= {truncated(ascii_lower(name)) for name in named}
        new = called - self._judged
        self._judged |= new
        rows = self._ask(FUNCTIONS_SQL, (list(EXTENSIONS), sorted({name for _, name in new} | attributes)))
        overloads: dict[str, list[Function]] = {}
        for row in rows:
            function = Function.of(row)
            overloads.setdefault(function.name, []).append(function)
        for schema, name in sorted(new, key=str):
            visible = [
                function
                for function in overloads.get(name, ())
                if (function.schema in self._schema.path if schema is None else self._in(function, schema))
            ]
            if not visible and name in named and name not in SYNTAX:
                raise _Impure(f"there is no function {name}()")
            self._called(name, visible)
        for name in sorted(attributes):
            for function in overloads.get(name, ()):
                if function.takes_row and not function.own and function.schema in self._schema.path:
                    raise _Impure(f"{name} may be a function of a row")

    def _in(self, function: Function, schema: str) -> bool:
        return function.schema == schema or (schema == "pg_temp" and function.schema.startswith("pg_temp_"))

    def _called(self, name: str, overloads: Sequence[Function]) -> None:
        for function in overloads:
            reason = function.why_impure()
            if reason is not None:
                raise _Impure(reason)
            if function.own and function.volatility == "s" and STATE.fullmatch(name):
                self.doubts.append(f"{name}() reads the server's state")
        if name in ORDER_DEPENDENT:
            self.doubts.append(f"{name}() depends on the order of rows")
        elif name in ROW_FUNCTIONS:
            self.doubts.append(f"the window function {name}() depends on the order of rows")

    # -- tables -------------------------------------------------------------------------------------

    def _relations(
        self, tokens: Tokens, words: Sequence[str | None], nodes: Sequence[Any], depth: int
    ) -> None:
        common = {_folded(node.args["alias"].this) for node in nodes if isinstance(node, exp.CTE)}
        tables: dict[int, Relation] = {}
        for node in nodes:
            if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
                continue
            parts = tuple(
                _folded(node.args[name]) for name in ("catalog", "db", "this") if node.args.get(name)
            )
            relation = self._schema.find(parts)
            if relation is not None:
                tables[relation.oid] = relation
            elif len(parts) > 1 or parts[0] not in common:
                raise _Impure(f"the catalogue has no table {'.'.join(parts)}")
        # Whatever the parser made of it: a name that may be a relation's is taken for one.
        for place, word in enumerate(words):
            if word is not None:
                before = words[place - 2] if place > 1 and tokens.words[place - 1] == "." else None
                relation = self._schema.find((word,) if before is None else (before, word))
                if relation is not None and relation.schema not in _SYSTEM_SCHEMAS:
                    tables.setdefault(relation.oid, relation)
        new = {oid: relation for oid, relation in tables.items() if oid not in self._seen}
        self._seen.update(new)
        stored = [oid for oid, relation in new.items() if relation.kind != "v"]
        if stored:
            self._facts(stored, tables, depth)
        for relation in new.values():
            table = self._schema.resolve((relation.schema, relation.name))
            if table is None:
                raise _Impure(f"{relation.name} has just been dropped")
            self._types.extend(table.types)
            if relation.schema in _SYSTEM_SCHEMAS:
                self.doubts.append(f"{relation.name} holds the server's state")
            elif relation.kind == "v":
                if table.view_sql is None:
                    raise _Impure(f"the view {relation.name} cannot be read")
                self.text(table.view_sql, depth + 1)

    def _facts(self, oids: Sequence[int], tables: dict[int, Relation], depth: int) -> None:
        for what, oid, detail in self._ask(_TABLES_SQL, (list(oids), depth > 0)):
            name = tables[int(oid)].name
            if what == "policy":
                self.doubts.append(f"row security restricts {name}")
                self.text(f"SELECT {detail}", depth + 1)
            elif what == "foreign":
                if detail != "postgres_fdw":
                    raise _Impure(f"{name} is read through the foreign data wrapper {detail}")
                self.doubts.append(f"{name} is a foreign table")
            else:
                self.doubts.append(f"different values of {name}.{detail} may be equal")
        if any(tables[oid].row_security for oid in oids):
            self.doubts.append("row security restricts what is read")

    # -- what runs unnamed --------------------------------------------------------------------------

    def settle(self) -> None:
        """Judge users' operators, casts and types that the statement may use."""
        users = users_made(self._ask, self._schema)
        explicit = any(word in text.lower() for text in self._texts for word in _CASTS)
        for what, name, detail, types in users:
            if what == "domain":
                if name in self._words:
                    self.text(f"SELECT {detail}", 1)
                continue
            there = not types or any(map(self._has_type, types))
            if what == "operator":
                written = any(name in text for text in self._texts)
                if written if name not in _IMPLIED else there:
                    raise _Impure(f"the operator {name} may be a user's, which runs {detail}()")
            elif what == "class":
                if there:
                    raise _Impure(f"values may be compared by a user's {detail}()")
            elif what == "type":
                if there:
                    raise _Impure(f"values of the type {name} are read by {detail}()")
            elif what == "cast i" or explicit or name in self._words:
                raise _Impure(f"a user's cast to {name} may run {detail}()")

    def _has_type(self, name: str) -> bool:
        return name in self._words or any(name in kind for kind in self._types)


_Made: TypeAlias = tuple[str, str, str, list[str]]


def users_made(ask: Ask, schema: PostgresSchema) -> list[_Made]:
    """What users made that runs functions unnamed: asked for once per state of the catalogue."""
    found: list[_Made] | None = schema.remembered.get("made by users")
    if found is None:
        rows = ask(USERS_SQL, (list(EXTENSIONS),) * USERS_PARAMETERS)
        ((strings,),) = ask("SELECT pg_catalog.current_setting('standard_conforming_strings')", ())
        if strings != "on":
            # A backslash then escapes a quote, which our lexer does not expect.
            raise _Impure("standard_conforming_strings is off")
        found = [(what, name, detail, types) for what, name, detail, types in rows]
        schema.remembered["made by users"] = found
    return found


def _parsed(sql: str) -> tuple[Tokens, list[Any]]:
    """Tokens and syntax nodes of one query."""
    try:
        found = fingerprint(sql, "postgres")
    except GodbError as error:
        raise _Impure(f"it cannot be read: {error}") from error
    reason = beyond_limits(found)
    if reason is not None:
        raise _Impure(reason)
    if not found.tokens:
        raise _Impure("there is no statement in this text")
    if has_several_statements(found):
        raise _Impure("several statements, not one SELECT")
    tokens = read(found)
    log = logging.getLogger("sqlglot")
    level = log.level
    try:
        # The parser warns about what it only half understands; that is our reason, not the user's log.
        log.setLevel(logging.ERROR)
        parsed = sqlglot.parse_one(tokens.parse_text, dialect="postgres")
    except SqlglotError as error:
        raise _Impure(f"the parser does not understand it: {str(error).splitlines()[0]}") from error
    finally:
        log.setLevel(level)
    if not isinstance(parsed, _QUERIES):
        raise _Impure(f"{tokens.texts[0].upper()} is not one SELECT")
    return tokens, below(parsed)


def _check_words(tokens: Tokens) -> None:
    """What no parser is trusted with: locks, and words of statements that write."""
    for place, word in enumerate(tokens.words):
        before = tokens.words[place - 1] if place else ""
        after = tokens.words[place + 1] if place + 1 < len(tokens) else ""
        if word in _WRITES and before not in (".", "as"):
            raise _Impure(f"it holds {word.upper()}")
        if word == "for" and after in ("update", "share", "no", "key"):
            raise _Impure("it locks rows")


def _names(tokens: Tokens) -> list[str | None]:
    """Each token as a name, folded as PostgreSQL does; None for what is none."""
    names: list[str | None] = []
    for text, slot in zip(tokens.texts, tokens.slots, strict=True):
        first = text[:1]
        if slot >= 0 or not (first == '"' or first == "_" or first.isalpha() or not first.isascii()):
            names.append(None)
        elif first == '"':
            names.append(truncated(text[1:-1].replace('""', '"')))
        elif text[1:3] in ('&"', "&'"):
            raise _Impure("identifiers with Unicode escapes are not read")
        else:
            names.append(truncated(ascii_lower(text)))
    return names


def _folded(identifier: Any) -> str:
    if not isinstance(identifier, exp.Identifier):
        raise _Impure("a table's name cannot be read")
    name: str = identifier.this
    return name if identifier.args.get("quoted") else ascii_lower(name)
