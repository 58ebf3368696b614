"""COUNT(DISTINCT) by the key of its group: what it makes of a query, what it leaves alone, whether answers stay."""

from __future__ import annotations

import random

import duckdb
import psycopg
import pytest
from oracles.answers import duckdb_answer, postgres_answer
from oracles.catalogue import Catalogue
from oracles.multiplying_queries import KINDS, Tables, compared
from sqlglot import parse_one

from godb_fast.core import Schema
from godb_fast.engines.postgres.catalogue import read_schema
from godb_fast.rewriting.block_rules import changed_trees
from godb_fast.rewriting.distinct_counts import DistinctCounts
from godb_fast.rewriting.join_block import Unsuitable, block_at

WHOLE = ("INTEGER", "BIGINT", "SMALLINT")


def forms(sql: str, schema: Schema, dialect: str = "duckdb") -> dict[str, str]:
    """The changed texts by place."""
    changed = changed_trees(DistinctCounts(), parse_one(sql, dialect=dialect), schema, dialect)
    return {place: tree.sql(dialect) for place, tree in changed}


def refused(sql: str, schema: Schema) -> bool:
    """Whether the outermost SELECT is left alone."""
    try:
        return not list(
            DistinctCounts().plans(block_at(parse_one(sql, dialect="duckdb"), 0, schema, "duckdb"))
        )
    except Unsuitable:
        return True


def test_two_branches_are_counted_apart(site_schema: Catalogue) -> None:
    sql = (
        "SELECT u.id, u.name, count(DISTINCT c.post_id) AS comments, count(DISTINCT v.ratio) AS votes FROM users u "
        "LEFT JOIN comments c ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id AND v.kind = 'up' "
        "GROUP BY u.id, u.name HAVING count(DISTINCT v.ratio) > 1 ORDER BY comments DESC, u.id LIMIT 10"
    )
    found = forms(sql, site_schema)
    assert set(found) == {"0-all-c-v", "0-c", "0-v"}
    assert found["0-all-c-v"] == (
        "SELECT u.id AS id, u.name AS name, COALESCE(MAX(c_groups.group_distinct), 0) AS comments,"
        " COALESCE(MAX(v_groups.group_distinct_2), 0) AS votes FROM users AS u"
        " LEFT JOIN (SELECT c.user_id AS user_id, COUNT(*) AS group_rows, COUNT(DISTINCT c.post_id) AS group_distinct"
        " FROM comments AS c GROUP BY c.user_id) AS c_groups ON c_groups.user_id = u.id"
        " LEFT JOIN (SELECT v.user_id AS user_id, COUNT(*) AS group_rows_2, COUNT(DISTINCT v.ratio) AS group_distinct_2,"
        " COUNT(DISTINCT v.ratio) AS group_distinct_3"
        " FROM votes AS v WHERE v.kind = 'up' GROUP BY v.user_id) AS v_groups ON v_groups.user_id = u.id"
        " GROUP BY u.id, u.name HAVING COALESCE(MAX(v_groups.group_distinct_3), 0) > 1"
        " ORDER BY comments DESC, u.id LIMIT 10"
    )


COUNTED = "SELECT count(DISTINCT c.post_id) AS n, count(DISTINCT v.ratio) AS m FROM users u"
BRANCHES = "LEFT JOIN comments c ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id"


@pytest.mark.parametrize(
    "sql",
    [
        # Members of a level share their comments' counts, and a count of distinct over several classes is no maximum.
        f"{COUNTED} {BRANCHES} GROUP BY u.level",
        f"{COUNTED} {BRANCHES}",
        # Another column of the branches matters.
        f"{COUNTED} LEFT JOIN comments c ON c.user_id = u.id AND c.score > u.id LEFT JOIN votes v ON v.user_id = u.id "
        "AND v.kind > c.mood GROUP BY u.id",
        f"SELECT count(DISTINCT c.post_id) AS n, bool_or(c.score > 1) AS s, count(DISTINCT v.ratio) AS m, bool_or(v.ratio > 0) AS k "
        f"FROM users u {BRANCHES} GROUP BY u.id",
        f"{COUNTED} {BRANCHES} WHERE c.post_id IS NULL AND v.kind IS NULL GROUP BY u.id",
        # Not the aggregate of one column.
        f"SELECT count(DISTINCT (c.post_id, c.score)) AS n, count(DISTINCT v.ratio) FILTER (WHERE v.kind = 'up') AS m "
        f"FROM users u {BRANCHES} GROUP BY u.id",
        f"SELECT sum(DISTINCT c.score) AS n, count(DISTINCT v.ratio + 1) AS m FROM users u {BRANCHES} GROUP BY u.id",
        # Nothing multiplies.
        "SELECT count(DISTINCT c.post_id) AS n FROM users u LEFT JOIN comments c ON c.user_id = u.id GROUP BY u.id",
    ],
)
def test_what_is_left_alone(site_schema: Catalogue, sql: str) -> None:
    assert refused(sql, site_schema)


class Branches:
    """Queries of this shape over the tables of the generator, many of them just outside of the precondition."""

    def __init__(self, tables: Tables, chance: random.Random) -> None:
        self.tables, self.chance = tables, chance

    def whole(self, table: str) -> str:
        names = [name for name in self.tables.columns[table] if KINDS.get(name, "INTEGER") in WHOLE]
        return self.chance.choice(names)

    def any(self, table: str) -> str:
        names = [name for name in self.tables.columns[table] if KINDS.get(name) != "BOOLEAN"]
        return self.chance.choice(names)

    def query(self) -> str:
        chance, names = self.chance, list(self.tables.columns)
        root = chance.choice(names)
        key = self.whole(root)
        text, shown, where = f"FROM {root} r", [f"r.{key}"], []
        grouped = [f"r.{key}"]
        if chance.random() < 0.3 and (other := self.any(root)) != key:
            grouped.append(f"r.{other}")
        links = [f"r.{key}"]
        for number in range(chance.choice((1, 2, 2, 3))):
            table, alias = chance.choice(names), f"b{number}"
            column = self.whole(table)
            link = chance.choice(links) if chance.random() < 0.8 else f"r.{self.whole(root)}"
            condition = f"{alias}.{column} = {link}"
            if chance.random() < 0.3:
                own = f"{alias}.{self.whole(table)} {chance.choice(('>', '<', '='))} {chance.randint(0, 3)}"
                condition += f" AND {own}"
            elif chance.random() < 0.1:
                condition += f" AND {alias}.{self.whole(table)} > r.{self.whole(root)}"
            text += f" {chance.choice(('LEFT JOIN', 'LEFT JOIN', 'JOIN'))} {table} {alias} ON {condition}"
            links.append(f"{alias}.{column}")
            shown.append(f"count(DISTINCT {alias}.{self.any(table)}) AS n{number}")
            if chance.random() < 0.1:
                shown.append(f"max({alias}.{self.whole(table)}) AS x{number}")
            if chance.random() < 0.15:
                where.append(f"{alias}.{self.whole(table)} IS NOT NULL")
        if chance.random() < 0.3:
            shown.append(
                chance.choice(("count(*)", f"sum(r.{self.whole(root)})", f"min(r.{self.any(root)})"))
            )
        if chance.random() < 0.3:
            where.append(f"coalesce(r.{self.whole(root)}, 2) > 0")
        text += f" WHERE {' AND '.join(where)}" if where else ""
        if chance.random() < 0.1:
            grouped, shown = [], shown[1:]
        text += f" GROUP BY {', '.join(grouped)}" if grouped else ""
        if chance.random() < 0.2 and not shown[-1].startswith("m"):
            text += f" HAVING {shown[-1].partition(' AS ')[0]} >= 1"
        return f"SELECT {', '.join(shown)} {text}"


def test_answers_stay_on_generated_data() -> None:
    compared_ = 0
    for seed in range(12):
        chance = random.Random(seed)
        tables = Tables(chance)
        with duckdb.connect() as connection:
            for statement in tables.statements:
                connection.execute(statement)
            schema = Catalogue(connection)
            for _ in range(60):
                sql = Branches(tables, chance).query()
                changed = forms(sql, schema)
                if changed:
                    # DuckDB 2.0's optimizer loses groups of some of these in HAVING.
                    connection.execute("PRAGMA disable_optimizer")
                    expected = duckdb_answer(connection, sql)
                    connection.execute("PRAGMA enable_optimizer")
                for place, text in changed.items():
                    assert duckdb_answer(connection, text) == expected, (seed, place, sql, text)
                    compared_ += 1
    assert compared_ > 200


@pytest.mark.parametrize("seed", range(3))
def test_answers_stay_where_joins_multiply(seed: int) -> None:
    assert compared(seed, 12, forms) >= 0


def test_answers_stay_on_postgres(postgres_url: str) -> None:
    chance, compared_ = random.Random(5), 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for number in range(6):
            connection.execute(f"CREATE SCHEMA s{number}")
            connection.execute(f"SET search_path TO s{number}")
            tables = Tables(chance)
            for statement in tables.statements:
                connection.execute(statement)
            schema = read_schema(lambda sql, values: connection.execute(sql, values or None).fetchall())
            for _ in range(50):
                sql = Branches(tables, chance).query()
                changed = forms(sql, schema, "postgres")
                if changed:
                    expected = postgres_answer(connection, sql)
                for place, text in changed.items():
                    assert postgres_answer(connection, text) == expected, (place, sql, text)
                    compared_ += 1
    assert compared_ > 60
