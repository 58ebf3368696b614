"""SQL texts behind the rows of a matrix of runtimes, and their terms."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.common import MissingData, Options
from benchmarks.corpora import imdb_ddl, inferred_ddl, lines
from benchmarks.matrices import Matrix
from godb_fast.learning.terms import QueryTerms, query_terms

_IMDB = ("ceb-imdb-13k", "ceb-imdb-3k", "job", "job_extended")
DSB = "DSB's templates, whose literals nobody published"
_PARAMETER = re.compile(r"\[([A-Za-z_][\w.]*)\]")
#: A parameter that is one of several words, the first of which is taken.
_WORD = re.compile(r"define\s+(\w+)\s*=\s*text\(\{\"([^\"]*)\"", re.IGNORECASE)
_DEFINITION = re.compile(r"^\s*define\s.*?;\s*$", re.MULTILINE | re.IGNORECASE | re.DOTALL)


def terms_of(matrix: Matrix, options: Options) -> tuple[list[QueryTerms], str]:
    """Terms of each row's query, and where the texts come from.

    Texts are those of the matrix itself where it has a column of SQL, else those of the published query sets
    whose names the rows have.

    Raises
    ------
    MissingData
        If a row has no text anywhere.
    """
    texts, ddl, source = _texts(matrix, options)
    terms = read_terms(texts, ddl)
    if source == DSB:
        terms = [QueryTerms(found.structure) for found in terms]
    return terms, source


def read_terms(texts: Sequence[str], ddl: str) -> list[QueryTerms]:
    """Terms of statements in PostgreSQL's dialect over tables that the DDL (in DuckDB's) creates."""
    import duckdb

    from godb_fast.engines.duckdb import DuckDBEngine
    from godb_fast.sql import fingerprint, parse_template

    connection = duckdb.connect()
    connection.execute(ddl)
    schema = DuckDBEngine.borrow(connection).schema()
    templates = {}
    found = []
    for text in texts:
        print_ = fingerprint(text, "postgres")
        template = templates.get(print_.hash)
        if template is None:
            template = templates[print_.hash] = parse_template(print_, "postgres", schema)
        found.append(query_terms(template, print_.literals))
    return found


def _texts(matrix: Matrix, options: Options) -> tuple[list[str], str, str]:
    if matrix.texts is not None:
        return list(matrix.texts), inferred_ddl(matrix.texts), "the matrix's own column"
    names = [name.removesuffix(".sql") for name in matrix.queries]
    known: dict[str, str] = {}
    for file in _IMDB:
        for record in lines(options, "imdb_sql", f"{file}.jsonl.zst", "CEB, VLDB 2021, and JOB, VLDB 2015"):
            known[record["id"]] = record["sql"]
    if all(name in known for name in names):
        return [known[name] for name in names], imdb_ddl(options), "published texts on IMDb"
    folder = options.folder("dsb_templates", "DSB, VLDB 2021")
    templates = {
        path.stem: plain_text(path.read_text())
        for path in sorted(folder.glob("query_templates_pg/*/query*.tpl"))
    }
    stems = [name.rpartition("_")[0] for name in names]
    if all(stem in templates for stem in stems):
        ddl = (folder / "scripts" / "create_tables.sql").read_text()
        return [templates[stem] for stem in stems], ddl, DSB
    raise MissingData(
        f"{matrix.name}: no SQL text for {next(name for name in names if name not in known)!r}; "
        "give the matrix a column 'sql'"
    )


def plain_text(template: str) -> str:
    """A template of TPC-DS's kind as a statement: every parameter stands for some literal."""
    text = re.sub(r"^\s*--.*$", "", template, flags=re.MULTILINE)
    words = {found[1].upper(): found[2] for found in _WORD.finditer(text)}
    text = _DEFINITION.sub("", text)

    def value(found: re.Match[str]) -> str:
        name = found[1].upper()
        if name.startswith("_LIMIT"):
            return "limit 100" if name == "_LIMITC" else ""
        return words.get(name, "1")

    return _PARAMETER.sub(value, text).strip().rstrip(";")
