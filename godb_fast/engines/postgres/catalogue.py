"""PostgreSQL's catalogue: names resolved as the server does, and an epoch that changes with them.

An ordinary role is enough, and the number of statements never depends on the number of tables: names of all
relations come with one, columns and keys of all tables with two more. Partitions (there may be thousands) and
the server's own tables get theirs only when a statement names one, then all of them at once.

Our statements may run under any search_path: their functions are qualified, and their comparisons are between
values of one type, so that an operator of a user does not take the place of a built-in one.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.core import Table
from godb_fast.core.forking import RenewedLock, renews_locks
from godb_fast.engines.postgres.connection import Ask
from godb_fast.errors import EngineError

#: OIDs below are the server's own objects (FirstNormalObjectId).
FIRST_USER_OID: Final = 16384
#: Bytes of a name that PostgreSQL keeps.
NAME_BYTES: Final = 63

#: Costs some 20 µs more than SELECT 1. While the snapshot stays the same, no transaction has committed
#: anything; a transaction with an id of its own may have changed the catalogue itself. On a standby the text
#: of a snapshot does not show which transactions are under way, but how far it has replayed does. The fifth
#: column is whether each statement looks anew. It needs no operator, and names its types in full: see
#: :func:`check_path`.
EPOCH_SQL: Final = """
SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
       pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL,
       pg_catalog.current_schemas(true)::pg_catalog.text[], pg_catalog.pg_my_temp_schema()::pg_catalog.int8,
       pg_catalog.starts_with(pg_catalog.current_setting('transaction_isolation'), 'read '),
       pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text"""
_HASH: Final = (
    "pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(x.place, x.writer), 0))"
)
#: Versions of all catalogue rows that names, columns, keys and users' functions rest on; see
#: :func:`read_epoch` for what it costs. A row's place (ctid) changes with each version, even within one
#: transaction. What ANALYZE and VACUUM write into pg_class is written in place and does not count. Columns of
#: partitions follow those of their table; temporary tables of other sessions do not matter.
VERSIONS_SQL: Final = f"""
WITH relations AS MATERIALIZED (
  SELECT c.oid, c.ctid AS place, c.xmin AS writer, c.relispartition
    FROM pg_catalog.pg_class c
   WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
     AND (c.relpersistence <> 't' OR c.relnamespace = pg_catalog.pg_my_temp_schema()))
SELECT 'class', {_HASH} FROM relations x
UNION ALL
SELECT 'attribute', {_HASH} FROM (SELECT a.ctid AS place, a.xmin AS writer
  FROM pg_catalog.pg_attribute a JOIN relations r ON r.oid = a.attrelid
 WHERE a.attnum > 0 AND a.attrelid >= 16384 AND NOT r.relispartition) x
UNION ALL
SELECT 'rewrite', {_HASH} FROM (SELECT w.ctid AS place, w.xmin AS writer
  FROM pg_catalog.pg_rewrite w WHERE w.oid >= 16384) x
UNION ALL
SELECT 'index', {_HASH} FROM (SELECT i.ctid AS place, i.xmin AS writer
  FROM pg_catalog.pg_index i JOIN relations r ON r.oid = i.indrelid
 WHERE i.indisunique AND NOT r.relispartition) x
UNION ALL
SELECT 'policy', {_HASH} FROM (SELECT ctid AS place, xmin AS writer FROM pg_catalog.pg_policy) x
""" + "".join(
    f"""UNION ALL
SELECT '{name}', {_HASH} FROM (SELECT ctid AS place, xmin AS writer
  FROM pg_catalog.pg_{name} WHERE oid >= 16384{more}) x
"""
    for name, more in (
        ("namespace", " AND NOT pg_catalog.starts_with(nspname::text, 'pg_')"),
        ("proc", ""),
        ("operator", ""),
        ("cast", ""),
        ("type", " AND typtype IN ('b', 'd', 'r', 'm') AND typelem = 0"),
    )
)
_PLACE: Final = """
SELECT pg_catalog.current_database()::text, pg_catalog.current_schemas(true)::text[],
       (SELECT nspname::text FROM pg_catalog.pg_namespace WHERE oid = pg_catalog.pg_my_temp_schema())
"""
_RELATIONS: Final = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 't',
       c.relispartition OR c.oid < 16384, c.relhassubclass, pg_catalog.row_security_active(c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'pg_toast'
   AND (c.relpersistence <> 't' OR c.relnamespace = pg_catalog.pg_my_temp_schema())
"""
#: NOT NULL holds for what a table's own constraint covers: not for foreign tables (nobody enforces it), not
#: where it is NOT VALID (18), and not in a table whose children need not have it. The second statement is for
#: partitions and the server's own tables.
_DETAILS: Final = """
SELECT c.oid::int8, a.names, a.types, a.filled,
       CASE WHEN c.relkind = 'v' AND c.oid >= 16384 THEN pg_catalog.pg_get_viewdef(c.oid) END
  FROM pg_catalog.pg_class c, LATERAL (
       SELECT pg_catalog.array_agg(b.attname::text ORDER BY b.attnum) AS names,
              pg_catalog.array_agg(pg_catalog.format_type(b.atttypid, b.atttypmod) ORDER BY b.attnum)
                AS types,
              pg_catalog.array_agg(b.attname::text) FILTER (
                WHERE b.attnotnull AND c.relkind IN ('r', 'p', 'm')
                  AND NOT (c.relhassubclass AND c.relkind = 'r')
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                                   WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
                                     AND b.attnum = ANY (k.conkey))) AS filled
         FROM pg_catalog.pg_attribute b
        WHERE b.attrelid = c.oid AND b.attnum > 0 AND NOT b.attisdropped) a
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND (c.relpersistence <> 't' OR c.relnamespace = pg_catalog.pg_my_temp_schema())
   AND (c.relispartition OR c.oid < 16384) = %s::boolean
"""
#: Keys that hold at every moment, on plain columns, compared as the columns themselves compare.
_KEYS: Final = """
SELECT i.indrelid::int8, k.names
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid, LATERAL (
       SELECT pg_catalog.array_agg(a.attname::text ORDER BY key.number) AS names,
              pg_catalog.bool_and(key.sorted = a.attcollation AND o.oid < 16384) AS alike
         FROM ROWS FROM (pg_catalog.unnest(i.indkey::int2[]), pg_catalog.unnest(i.indcollation::oid[]),
                         pg_catalog.unnest(i.indclass::oid[]))
              WITH ORDINALITY AS key(attnum, sorted, class, number)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnum
              JOIN pg_catalog.pg_opclass o ON o.oid = key.class
        WHERE key.number <= i.indnkeyatts) k
 WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND NOT i.indisexclusion
   AND i.indpred IS NULL AND i.indexprs IS NULL AND k.alike
   AND NOT (c.relhassubclass AND c.relkind = 'r')
   AND (c.relpersistence <> 't' OR c.relnamespace = pg_catalog.pg_my_temp_schema())
   AND (c.relispartition OR c.oid < 16384) = %s::boolean
"""


#: Types that our statements name without their schema.
_OUR_TYPES: Final = ("text", "name", "oid", "int2", "int4", "int8", "float8")
#: Schemas with operators, or such types; without an operator or a type of ours that a schema could give.
_TRAPS: Final = """
SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n
 WHERE pg_catalog.array_position(%s::pg_catalog.text[], n.nspname::pg_catalog.text) IS NOT NULL
   AND (EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE pg_catalog.oideq(o.oprnamespace, n.oid))
     OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE pg_catalog.oideq(t.typnamespace, n.oid)
          AND pg_catalog.array_position(%s::pg_catalog.text[], t.typname::pg_catalog.text) IS NOT NULL))
"""


class Epochs:
    """The epoch of one connection's catalogue, asked for again and again.

    What it remembers is bound to a server: make a new one for a new connection.
    """

    def __init__(self) -> None:
        self._token: tuple[Any, ...] | None = None
        self._epoch = ""
        # Where transactions commit all the time, or the caller's own is writing, the token alone never tells:
        # then the versions are asked for along with it.
        self._restless = True

    @property
    def seen(self) -> str:
        """The epoch as it was last read; empty before."""
        return self._epoch

    def read(self, ask: Ask) -> str:
        """The epoch as of now; one statement while nothing was committed on the server, else two.

        Raises
        ------
        EngineError
            As for :func:`check_path`: nothing else is asked then.
        """
        seen = ask(EPOCH_SQL, ())
        if self._token_of(seen)[0] != self._token:
            check_path(seen[0][2], ask)
        return self.answered(seen) or self._take(seen, ask(VERSIONS_SQL, ()))

    def questions(self) -> tuple[str, ...]:
        """What to ask behind another statement, in the same round trip; :meth:`answered` takes the rows."""
        return (EPOCH_SQL, VERSIONS_SQL) if self._restless else (EPOCH_SQL,)

    def answered(self, seen: Sequence[Any], versions: Sequence[Any] | None = None) -> str | None:
        """The epoch by the answers; None if they do not tell, and it has to be read."""
        token, writing = self._token_of(seen)
        self._restless = writing or token != self._token
        if not self._restless:
            return self._epoch
        return None if versions is None else self._take(seen, versions)

    def _take(self, seen: Sequence[Any], versions: Sequence[Any]) -> str:
        # Versions were read after the token: what was committed in between changes the next token.
        token, writing = self._token_of(seen)
        # A session's schema for temporary tables has a number, and comes first unless it is named.
        plain = ["pg_temp" if name.startswith("pg_temp_") else name for name in seen[0][2]]
        plain = plain[1:] if plain[:1] == ["pg_temp"] else plain
        rows = sorted(tuple(row) for row in versions)
        self._epoch = hashlib.blake2b(repr((plain, rows)).encode(), digest_size=10).hexdigest()
        self._token = None if writing else token
        return self._epoch

    @staticmethod
    def _token_of(seen: Sequence[Any]) -> tuple[tuple[Any, ...], bool]:
        snapshot, writing, path, temporary, _, replayed = seen[0]
        return (snapshot, tuple(path), temporary, replayed), writing


def check_path(path: Sequence[str], ask: Ask) -> None:
    """Whether our own statements mean what they say under a search path: without a trap in it, they do.

    Their functions and relations are named in full. Operators and types are not, which is safe unless the
    path has a schema before ``pg_catalog``.

    Raises
    ------
    EngineError
        If such a schema has operators, or types of the names that we use.
    """
    plain = [name for name in path if not name.startswith("pg_temp")]
    before = plain[: plain.index("pg_catalog")] if "pg_catalog" in plain else []
    traps = [name for (name,) in ask(_TRAPS, (before, list(_OUR_TYPES)))] if before else []
    if traps:
        raise EngineError(
            f"search_path has schema {traps[0]!r}, with operators or types of its own, before pg_catalog: "
            "nothing is asked there; leave pg_catalog out of search_path, or name it first"
        )


def read_epoch(ask: Ask) -> str:
    """A hash that changes whenever a name may resolve differently, a table has other columns or keys, a view
    another definition, or a user's function, operator, cast, type or policy another version.

    Costs about 1 ms plus 2 ms for a thousand tables; :class:`Epochs` avoids that while nothing was committed.
    In a REPEATABLE READ or SERIALIZABLE transaction it sees what that transaction's snapshot sees, so what
    others change since is noticed only by the next transaction.
    """
    return Epochs().read(ask)


@dataclass(frozen=True)
class Relation:
    """What pg_class says of a relation.

    Parameters
    ----------
    kind : str
        ``r`` table, ``p`` partitioned table, ``v`` view, ``m`` materialized view, ``f`` foreign table.
    apart : bool
        A partition, or one of the server's own.
    has_children : bool
        Partitions, or tables that inherit from it.
    row_security : bool
        Policies restrict which rows this role sees.
    """

    oid: int
    schema: str
    name: str
    kind: str
    temporary: bool
    apart: bool
    has_children: bool
    row_security: bool


class PostgresSchema:
    """The catalogue as one connection sees it."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._lock = RenewedLock()
        #: What was asked besides in the same state of the catalogue, by name; shared as the rest is.
        self.remembered: dict[str, Any] = {}
        database, path, temporary = ask(_PLACE, ())[0]
        self.database: str = database
        self.path: tuple[str, ...] = tuple(path)
        self._temporary: str | None = temporary
        self._relations: dict[tuple[str, str], Relation] = {}
        for row in ask(_RELATIONS, ()):
            relation = Relation(int(row[0]), *row[1:])
            self._relations[relation.schema, relation.name] = relation
        self._tables: dict[int, Table] = {}
        #: By canonical name; a name with dots in it may look like another: neither is then known by it.
        self._by_name: dict[str, Relation | None] = {}
        for relation in self._relations.values():
            name = self._canonical(relation)
            self._by_name[name] = None if name in self._by_name else relation
        self._loaded: set[bool] = set()
        self._load(False)

    def through(self, ask: Ask) -> PostgresSchema:
        """The same for another connection that sees the same; what is read later is shared."""
        other = PostgresSchema.__new__(PostgresSchema)
        other.__dict__.update(self.__dict__)
        other._ask = ask
        return other

    @property
    def has_temporary(self) -> bool:
        """Whether there are temporary tables, which other connections do not see."""
        return any(relation.temporary for relation in self._relations.values())

    def _canonical(self, relation: Relation) -> str:
        return f"{self.database}.{relation.schema}.{relation.name}"

    def _load(self, apart: bool) -> None:
        """Read columns and keys: of partitions and the server's own tables, or of all others."""
        with self._lock:
            if apart in self._loaded:
                return
            unique: dict[int, set[tuple[str, ...]]] = {}
            for oid, names in self._ask(_KEYS, (apart,)):
                unique.setdefault(int(oid), set()).add(tuple(names))
            details = {int(row[0]): row[1:] for row in self._ask(_DETAILS, (apart,))}
            for relation in self._relations.values():
                found = details.get(relation.oid)
                if relation.apart is not apart or found is None:
                    continue
                names, types, filled, view = found
                self._tables[relation.oid] = Table(
                    name=self._canonical(relation),
                    columns=tuple(names or ()),
                    types=tuple(types or ()),
                    view_sql=None if view is None else view.strip().rstrip(";"),
                    unique=tuple(sorted(unique.get(relation.oid, ()))),
                    not_null=frozenset(filled or ()),
                    temporary=relation.temporary,
                )
            self._loaded.add(apart)

    # -- the protocol -------------------------------------------------------------------------------

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """The table or view that a (qualified) name means, or None."""
        found = self.find(parts)
        return None if found is None else self._table(found)

    def near(self, name: str) -> tuple[str, ...]:
        """Names of tables like the given one, best first."""
        plain: dict[str, str] = {}
        for relation in self._relations.values():
            if not relation.apart:
                qualified = f"{relation.schema}.{relation.name}"
                in_path = relation.schema in self.path
                plain.setdefault(relation.name.lower(), relation.name if in_path else qualified)
        close = difflib.get_close_matches(name.lower(), plain, n=3, cutoff=0.5)
        return tuple(plain[found] for found in close)

    # -- more ---------------------------------------------------------------------------------------

    def find(self, parts: tuple[str, ...]) -> Relation | None:
        """The relation that a (qualified) name means, or None."""
        names = tuple(truncated(part) for part in parts)
        if len(names) == 3 and names[0] == self.database:
            names = names[1:]
        if len(names) == 1:
            return next(
                (
                    found
                    for schema in self.path
                    if (found := self._relations.get((schema, names[0]))) is not None
                ),
                None,
            )
        if len(names) == 2:
            schema = self._temporary if names[0] == "pg_temp" else names[0]
            return None if schema is None else self._relations.get((schema, names[1]))
        return None

    def relation(self, name: str) -> Relation | None:
        """A relation by its table's canonical name."""
        return self._by_name.get(name)

    def table(self, name: str) -> Table | None:
        """A table or view by its canonical name."""
        found = self._by_name.get(name)
        return None if found is None else self._table(found)

    def _table(self, relation: Relation) -> Table | None:
        if relation.apart not in self._loaded:
            self._load(relation.apart)
        # Dropped between two of our statements: the next epoch tells.
        return self._tables.get(relation.oid)


def read_schema(ask: Ask) -> PostgresSchema:
    """The catalogue as the connection sees it now."""
    return PostgresSchema(ask)


class SharedSchemas:
    """Catalogues that connections of this process have read, for others that see the same. Thread-safe."""

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str], PostgresSchema] = OrderedDict()
        #: How long reading one took last, in ms, by environment.
        self._took_ms: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        renews_locks(self)

    def reading_ms(self, environment: str, epoch: str) -> float:
        """What a connection has to wait for that does not know this epoch; 0 where nobody can tell."""
        if (environment, epoch) in self._kept:
            return 0.0
        return self._took_ms.get(environment, 0.0)

    def get(self, environment: str, epoch: str, ask: Ask) -> PostgresSchema | None:
        """What another connection has read in the same environment and epoch, asked through this one."""
        with self._lock:
            found = self._kept.get((environment, epoch))
            if found is None:
                return None
            self._kept.move_to_end((environment, epoch))
        return found.through(ask)

    def keep(self, environment: str, epoch: str, schema: PostgresSchema, took_ms: float) -> None:
        """What was read, if others may see the same. No connection is kept with it."""
        with self._lock:
            self._took_ms[environment] = took_ms
            self._took_ms.move_to_end(environment)
            while len(self._took_ms) > 16 * self._most:
                self._took_ms.popitem(last=False)
            if schema.has_temporary:
                return
            self._kept[environment, epoch] = schema.through(_nobody)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _nobody(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    raise AssertionError("a catalogue that is kept asks nobody")


def truncated(name: str) -> str:
    """A name as PostgreSQL keeps it: cut to 63 bytes, whole characters."""
    if len(name) <= NAME_BYTES // 4:
        return name
    return name.encode("utf-8")[:NAME_BYTES].decode("utf-8", "ignore")
