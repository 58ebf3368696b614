"""Published query texts with the schemas to read them in: JOB, CEB, Stack, TPC-H and TPC-DS."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import Options

_TABLE = re.compile(r"\b(?:from|join|,)\s*([a-z_]\w*)\s+(?:as\s+)?([a-z_]\w*)", re.IGNORECASE)
_COLUMN = re.compile(r"\b([a-z_]\w*)\.([a-z_]\w*)", re.IGNORECASE)
_TEXT = re.compile(
    r"\b([a-z_]\w*)\.([a-z_]\w*)\s*(?:=|<>|!=|(?:not\s+)?(?:in|i?like))\s*\(?\s*\'", re.IGNORECASE
)
_WORDS = frozenset({"where", "on", "group", "order", "join", "inner", "left", "and", "limit"})

TPCH = """
CREATE TABLE region (r_regionkey INTEGER NOT NULL, r_name VARCHAR NOT NULL, r_comment VARCHAR NOT NULL);
CREATE TABLE nation (n_nationkey INTEGER NOT NULL, n_name VARCHAR NOT NULL, n_regionkey INTEGER NOT NULL,
  n_comment VARCHAR NOT NULL);
CREATE TABLE supplier (s_suppkey BIGINT NOT NULL, s_name VARCHAR NOT NULL, s_address VARCHAR NOT NULL,
  s_nationkey INTEGER NOT NULL, s_phone VARCHAR NOT NULL, s_acctbal DECIMAL(15, 2) NOT NULL,
  s_comment VARCHAR NOT NULL);
CREATE TABLE customer (c_custkey BIGINT NOT NULL, c_name VARCHAR NOT NULL, c_address VARCHAR NOT NULL,
  c_nationkey INTEGER NOT NULL, c_phone VARCHAR NOT NULL, c_acctbal DECIMAL(15, 2) NOT NULL,
  c_mktsegment VARCHAR NOT NULL, c_comment VARCHAR NOT NULL);
CREATE TABLE part (p_partkey BIGINT NOT NULL, p_name VARCHAR NOT NULL, p_mfgr VARCHAR NOT NULL,
  p_brand VARCHAR NOT NULL, p_type VARCHAR NOT NULL, p_size INTEGER NOT NULL, p_container VARCHAR NOT NULL,
  p_retailprice DECIMAL(15, 2) NOT NULL, p_comment VARCHAR NOT NULL);
CREATE TABLE partsupp (ps_partkey BIGINT NOT NULL, ps_suppkey BIGINT NOT NULL, ps_availqty BIGINT NOT NULL,
  ps_supplycost DECIMAL(15, 2) NOT NULL, ps_comment VARCHAR NOT NULL);
CREATE TABLE orders (o_orderkey BIGINT NOT NULL, o_custkey BIGINT NOT NULL, o_orderstatus VARCHAR NOT NULL,
  o_totalprice DECIMAL(15, 2) NOT NULL, o_orderdate DATE NOT NULL, o_orderpriority VARCHAR NOT NULL,
  o_clerk VARCHAR NOT NULL, o_shippriority INTEGER NOT NULL, o_comment VARCHAR NOT NULL);
CREATE TABLE lineitem (l_orderkey BIGINT NOT NULL, l_partkey BIGINT NOT NULL, l_suppkey BIGINT NOT NULL,
  l_linenumber BIGINT NOT NULL, l_quantity DECIMAL(15, 2) NOT NULL, l_extendedprice DECIMAL(15, 2) NOT NULL,
  l_discount DECIMAL(15, 2) NOT NULL, l_tax DECIMAL(15, 2) NOT NULL, l_returnflag VARCHAR NOT NULL,
  l_linestatus VARCHAR NOT NULL, l_shipdate DATE NOT NULL, l_commitdate DATE NOT NULL,
  l_receiptdate DATE NOT NULL, l_shipinstruct VARCHAR NOT NULL, l_shipmode VARCHAR NOT NULL,
  l_comment VARCHAR NOT NULL);
"""


@dataclass(frozen=True)
class Corpus:
    """Queries, and statements that create the tables they need (without rows)."""

    name: str
    texts: tuple[str, ...]
    ddl: str

    def connect(self) -> Any:
        """An in-memory DuckDB database with the empty tables."""
        import duckdb

        connection = duckdb.connect()
        connection.execute(self.ddl)
        return connection


def lines(options: Options, folder: str, file: str, publication: str) -> list[dict[str, Any]]:
    """Records of a compressed file of the published data."""
    import zstandard

    path = options.folder(folder, publication) / file
    with zstandard.open(path, "rt", encoding="utf-8") as source:
        return [json.loads(line) for line in source]


def _duckdb_files(options: Options) -> dict[str, str]:
    records = lines(
        options, "duckdb_sql", "benchmark_sql_and_answers.jsonl.zst", "benchmark texts of DuckDB, MIT"
    )
    return {record["path"]: record["text"] for record in records}


def imdb_ddl(options: Options) -> str:
    """Tables of IMDb."""
    return _duckdb_files(options)["benchmark/imdb_plan_cost/init/schema.sql"]


def job(options: Options) -> Corpus:
    """The 113 queries of the Join Order Benchmark."""
    records = lines(options, "imdb_sql", "job.jsonl.zst", "Join Order Benchmark, VLDB 2015")
    return Corpus("JOB", tuple(record["sql"] for record in records), imdb_ddl(options))


def ceb(options: Options) -> Corpus:
    """The CEB queries on IMDb (the small set)."""
    records = lines(
        options, "imdb_sql", "ceb-imdb-3k.jsonl.zst", "Cardinality Estimation Benchmark, VLDB 2021"
    )
    return Corpus("CEB", tuple(record["sql"] for record in records), imdb_ddl(options))


def stack(options: Options) -> Corpus:
    """The Stack queries; columns are those that the texts name, INTEGER unless compared with a text."""
    records = lines(options, "stack_sql", "stack.jsonl.zst", "FASTgres, VLDB 2023")
    texts = tuple(record["sql"] for record in records)
    return Corpus("Stack", texts, inferred_ddl(texts))


def inferred_ddl(texts: Sequence[str]) -> str:
    """Tables whose columns are those that the texts name, INTEGER unless compared with a text."""
    columns: dict[str, dict[str, str]] = {}
    for text in texts:
        aliases = {
            alias.lower(): table.lower()
            for table, alias in _TABLE.findall(text)
            if alias.lower() not in _WORDS
        }
        for table in aliases.values():
            columns.setdefault(table, {})
        for alias, column in _COLUMN.findall(text):
            if alias.lower() in aliases:
                columns[aliases[alias.lower()]].setdefault(column.lower(), "INTEGER")
        for alias, column in _TEXT.findall(text):
            if alias.lower() in aliases:
                columns[aliases[alias.lower()]][column.lower()] = "VARCHAR"
    return "".join(
        f"CREATE TABLE {table} ({_columns(names)});\n" for table, names in sorted(columns.items()) if names
    )


def _columns(types: dict[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in sorted(types.items()))


def _extension(options: Options, folder: str) -> tuple[str, ...]:
    files = _duckdb_files(options)
    return tuple(text for path, text in sorted(files.items()) if path.startswith(folder))


def numbered(options: Options, workload: str) -> dict[int, str]:
    """The queries of ``tpch`` or ``tpcds`` by number; DuckDB and PostgreSQL read the same texts."""
    folder = {"tpch": "extension/tpch/dbgen/queries/", "tpcds": "extension/tpcds/dsdgen/queries/"}[workload]
    files = _duckdb_files(options)
    return {
        int(re.sub(r"\D", "", path.rsplit("/", 1)[1])): text
        for path, text in sorted(files.items())
        if path.startswith(folder)
    }


def demo(options: Options) -> Corpus:
    """The demo's own queries, in its own schema: the one corpus that every copy of the project has."""
    from godb_fast.demo import TABLES, stream

    texts = tuple(query.sql for query in stream(instances=2, scale=0.02, seed=options.seed))
    return Corpus("demo", texts, "; ".join(table.ddl for table in TABLES))


def tpch(options: Options) -> Corpus:
    """The 22 queries of TPC-H."""
    return Corpus("TPC-H", _extension(options, "extension/tpch/dbgen/queries/"), TPCH)


def tpcds(options: Options) -> Corpus:
    """The 99 queries of TPC-DS, in the schema that DSB shares with it."""
    folder = options.folder("dsb_templates", "DSB, VLDB 2021")
    ddl = (folder / "scripts" / "create_tables.sql").read_text()
    return Corpus("TPC-DS", _extension(options, "extension/tpcds/dsdgen/queries/"), ddl)
