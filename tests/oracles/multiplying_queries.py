"""Small tables full of NULLs and duplicates, and random queries over joins that multiply their rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import duckdb
from oracles.answers import duckdb_answer
from oracles.catalogue import Catalogue

from godb_fast.core import Schema

#: Column names, some shared; DuckDB's type and PostgreSQL's.
KINDS = {
    "k": "INTEGER",
    "j": "INTEGER",
    "big": "BIGINT",
    "small": "SMALLINT",
    "price": "DECIMAL(8, 2)",
    "s": "VARCHAR",
    "day": "DATE",
    "flag": "BOOLEAN",
    "ratio": "DOUBLE PRECISION",
}


class Tables:
    """Four tables; the first has a primary key, the second a nullable unique column."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.columns: dict[str, list[str]] = {}
        self.statements: list[str] = []
        for number in range(4):
            name = f"t{number}"
            columns = ["k", *(column for column in KINDS if column != "k" and chance.random() < 0.7)]
            columns.append(f"only{number}")
            keys = {0: "id INTEGER PRIMARY KEY, ", 1: "u INTEGER UNIQUE, "}.get(number, "")
            declared = ", ".join(f"{column} {KINDS.get(column, 'INTEGER')}" for column in columns)
            self.statements.append(f"CREATE TABLE {name} ({keys}{declared})")
            self.columns[name] = columns
            if number == 0:
                self.columns[name] = [*columns, "id"]
            elif number == 1:
                self.columns[name] = [*columns, "u"]
            rows = chance.choice((0, 1, 3, 8, 12))
            if rows:
                values = ", ".join(self._row(number, row, columns) for row in range(rows))
                listed = ", ".join([*{0: ["id"], 1: ["u"]}.get(number, []), *columns])
                self.statements.append(f"INSERT INTO {name} ({listed}) VALUES {values}")

    def _row(self, number: int, row: int, columns: list[str]) -> str:
        key = {0: [str(row)], 1: [str(row) if self.chance.random() < 0.7 else "NULL"]}.get(number, [])
        return f"({', '.join([*key, *(self._value(column) for column in columns)])})"

    def _value(self, column: str) -> str:
        chance = self.chance
        if chance.random() < 0.2:
            return "NULL"
        if column == "price":
            return f"{chance.randint(-300, 300) / 100:.2f}"
        if column == "ratio":
            return chance.choice(("0.1", "0.2", "-1.5", "3"))
        if column == "s":
            return chance.choice(("'a'", "'b'", "'A'", "''", "'a '"))
        if column == "day":
            return f"DATE '2020-01-0{chance.randint(1, 4)}'"
        if column == "flag":
            return chance.choice(("TRUE", "FALSE"))
        if column == "big":
            return str(chance.choice((1, -2, 3, 4_000_000_000)))
        return str(chance.randint(0, 4))


def query(
    tables: Tables, chance: random.Random, dialect: str = "duckdb", *, counting: bool | None = None
) -> str:
    """A random SELECT with aggregates, DISTINCT or GROUP BY over two to five relations.

    Parameters
    ----------
    counting : bool, optional
        Whether its aggregates may see duplicates.
    """
    return _Query(tables, chance, dialect).text(chance.random() < 0.7 if counting is None else counting)


class _Query:
    def __init__(self, tables: Tables, chance: random.Random, dialect: str) -> None:
        self.tables = tables
        self.chance = chance
        self.dialect = dialect
        count = chance.choice((2, 3, 3, 4, 4, 5))
        self.inputs = [(f"r{number}", chance.choice(list(tables.columns))) for number in range(count)]

    def column(self, among: list[tuple[str, str]] | None = None, *, kinds: str = "") -> str:
        """A random column, sometimes bare where the name is unambiguous."""
        found = [
            (alias, name)
            for alias, table in among or self.inputs
            for name in self.tables.columns[table]
            if not kinds or KINDS.get(name, "INTEGER") in kinds
        ]
        alias, name = self.chance.choice(found)
        alone = sum(name in self.tables.columns[other] for _, other in self.inputs) == 1
        return name if alone and self.chance.random() < 0.3 else f"{alias}.{name}"

    def equality(self, left: list[tuple[str, str]], right: tuple[str, str]) -> str:
        whole = "INTEGER BIGINT SMALLINT"
        kinds = whole if self.chance.random() < 0.9 else "VARCHAR"
        if kinds == "VARCHAR" and not (
            "s" in self.tables.columns[right[1]] and any("s" in self.tables.columns[t] for _, t in left)
        ):
            kinds = whole
        return f"{self.column(left, kinds=kinds)} = {self.column([right], kinds=kinds)}"

    def condition(self, among: list[tuple[str, str]] | None = None, *, plain: bool = False) -> str:
        chance, number = self.chance, "INTEGER BIGINT SMALLINT"
        form = chance.randrange(5 if plain else 9)
        if form == 0:
            return f"{self.column(among)} IS {chance.choice(('', 'NOT '))}NULL"
        if form == 1:
            return f"{self.column(among, kinds=number)} IN (0, 1, {chance.randint(2, 4)})"
        if form == 2:
            return f"({self.column(among, kinds=number)} > 2 OR {self.column(among, kinds=number)} = 1)"
        if form == 3:
            return f"{self.column(among, kinds=number)} < {self.column(among, kinds=number)}"
        if form == 4:
            return f"coalesce({self.column(among, kinds=number)}, 3) <> {chance.randint(0, 4)}"
        if form == 5:
            alias, _ = chance.choice(among or self.inputs)
            return f"{chance.choice(('', 'NOT '))}EXISTS (SELECT 1 FROM t3 z WHERE z.k = {alias}.k)"
        if form == 6:
            return f"{self.column(among, kinds=number)} IN (SELECT z.k FROM t2 z WHERE z.only2 > 1)"
        return f"{self.column(among, kinds=number)} {chance.choice(('=', '>', '<=', '<>'))} {chance.randint(0, 4)}"

    def body(self) -> str:
        chance = self.chance
        text = f"{self.inputs[0][1]} {self.inputs[0][0]}"
        where = []
        self.padded: list[str] = []
        done = [self.inputs[0]]
        for alias, table in self.inputs[1:]:
            core = [one for one in done if one[0] not in self.padded]
            form = chance.random()
            if form < 0.2:
                left = done if chance.random() < 0.3 else core
                # DuckDB 2.0 itself fails with internal errors on some subqueries here.
                among = [(alias, table)] if chance.random() < 0.5 else [*left, (alias, table)]
                extra = f" AND {self.condition(among, plain=True)}" if chance.random() < 0.3 else ""
                text += f" LEFT JOIN {table} {alias} ON {self.equality(left, (alias, table))}{extra}"
                self.padded.append(alias)
            elif form < 0.3 and not self.padded and len(done) == 1:
                text += f" JOIN {table} {alias} USING (k)"
            elif form < 0.5:
                text += f" CROSS JOIN {table} {alias}"
                if chance.random() < 0.95:
                    where.append(self.equality(core, (alias, table)))
            else:
                text += f" JOIN {table} {alias} ON {self.equality(core, (alias, table))}"
                if chance.random() < 0.15:
                    text += f" AND {self.condition([*core, (alias, table)])}"
                if chance.random() < 0.1:
                    text += f" AND {self.equality(core, (alias, table))}"
            done.append((alias, table))
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            where.append(self.condition())
        return f"FROM {text}" + (f" WHERE {' AND '.join(where)}" if where else "")

    def aggregate(self, *, counting: bool) -> str:
        chance, exact = self.chance, "INTEGER BIGINT SMALLINT DECIMAL(8, 2)"
        forms = ["min({})", "max({})", "count(DISTINCT {})"]
        if counting:
            forms += ["count(*)", "count(*)", "count({})", "sum({})", "sum({})", "count(1)"]
            if self.dialect == "postgres":
                forms.append("avg({})")
        form = chance.choice(forms)
        kinds = exact if form[:3] in ("sum", "avg") else "".join(KINDS.values()).replace("BOOLEAN", "")
        whole = "INTEGER BIGINT SMALLINT"
        if form in ("sum({})", "avg({})") and chance.random() < 0.3:
            inner = chance.choice((
                f"CASE WHEN {self.condition()} THEN {self.column(kinds=whole)} ELSE 0 END",
                f"CASE WHEN {self.simple()} THEN 1 WHEN {self.simple()} THEN 2 END",
                f"coalesce({self.column(kinds=whole)}, 7)",
            ))  # fmt: skip
            return form.format(inner)
        if form == "count({})" and chance.random() < 0.2:
            return f"count(CASE WHEN {self.condition()[:200]} THEN 1 END)"
        text = form.format(self.column(kinds=kinds))
        if chance.random() < 0.15:
            text += f" FILTER (WHERE {self.simple()})"
        return text

    def simple(self) -> str:
        return f"{self.column(kinds='INTEGER BIGINT SMALLINT')} {self.chance.choice(('=', '>', '<='))} {self.chance.randint(0, 4)}"

    def text(self, counting: bool) -> str:
        chance = self.chance
        grouping = chance.choice((0, 0, 1, 1, 2))
        keys = [self.column() for _ in range(grouping)]
        body = self.body()
        items = list(keys)
        if chance.random() < 0.5:
            items = [f"{item} AS g{number}" for number, item in enumerate(items)]
        aggregates = [self.aggregate(counting=counting) for _ in range(chance.choice((1, 1, 2, 3)))]
        if not counting and chance.random() < 0.5 and keys:
            aggregates = []
        if self.dialect == "postgres" or chance.random() < 0.4:
            aggregates = [f"{text} AS a{number}" for number, text in enumerate(aggregates)]
        items += aggregates
        if not counting and not aggregates and chance.random() < 0.5:
            return f"SELECT DISTINCT {', '.join(items)} {body}"
        text = f"SELECT {', '.join(items)} {body}"
        if keys:
            listed = [str(i + 1) if chance.random() < 0.3 else key for i, key in enumerate(keys)]
            text += f" GROUP BY {', '.join(listed)}"
            if aggregates and chance.random() < 0.2:
                text += f" HAVING {self.aggregate(counting=counting)} IS NOT NULL AND count(DISTINCT {keys[0]}) < 3"
            if chance.random() < 0.2:
                text += f" ORDER BY {keys[0]}"
        return text


def compared(
    seed: int,
    queries: int,
    forms: Callable[[str, Schema], Mapping[str, str]],
    *,
    counting: bool | None = None,
) -> int:
    """Original and changed statements on DuckDB; how many were compared.

    ``forms`` gives the changed texts of a statement by place.
    """
    chance = random.Random(seed)
    count = 0
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        tables = Tables(chance)
        for statement in tables.statements:
            connection.execute(statement)
        schema = Catalogue(connection)
        for _ in range(queries):
            sql = query(tables, chance, counting=counting)
            expected = duckdb_answer(connection, sql)
            for place, text in forms(sql, schema).items():
                assert duckdb_answer(connection, text) == expected, (place, sql, text)
                count += 1
    return count
