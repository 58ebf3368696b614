"""The small question-and-answer site of the short demo: built twice, even and with a heavy account.

Generator, seed and queries were written down before any of them was run. Afterwards the numbers of rows were
set so that all takes about a minute, and LIMITs got the total order without which nothing is steered.
Both sites have the same tables, sizes and queries. On the even one all accounts and posts are alike; on the
other the heaviest account wrote a given share of the comments, and one ranking of accounts and one of posts
holds in all tables, as it does on real sites: keys are hot together, and joins over them multiply.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from godb_fast.demo.community import Columns
from godb_fast.demo.database import fill
from godb_fast.demo.randomness import Ints, Source
from godb_fast.errors import InvalidInput

#: Share of the comments that the heaviest account wrote on the site that is not even.
HEAVY_SHARE: Final = 0.005
SEED: Final = 20240229
_DAYS: Final = 3400
_LEVELS: Final = ("new", "regular", "trusted", "editor", "moderator")
_CHUNK: Final = 1 << 20

#: Columns of each table, with their types in both engines; the first is the primary key.
TABLES: Final[dict[str, dict[str, str]]] = {
    "users": {"id": "INTEGER", "name": "VARCHAR", "level": "VARCHAR", "reputation": "INTEGER"},
    "posts": {"id": "INTEGER", "user_id": "INTEGER", "views": "INTEGER", "asked": "DATE"},
    "comments": {"id": "INTEGER", "user_id": "INTEGER", "post_id": "INTEGER", "score": "INTEGER"},
    "votes": {"id": "INTEGER", "user_id": "INTEGER", "post_id": "INTEGER", "kind": "INTEGER"},
}
#: Rows at scale 1.
ROWS: Final = {"users": 25_000, "posts": 60_000, "comments": 110_000, "votes": 200_000}

#: What everyone has written on such a site. In the last three nothing should be there to win.
QUERIES: Final[dict[str, str]] = {
    "top users": """
SELECT u.id, u.name, count(*) AS activity
FROM users u JOIN comments c ON c.user_id = u.id JOIN votes v ON v.user_id = u.id
GROUP BY u.id, u.name ORDER BY activity DESC, u.name, u.id LIMIT 10""",
    "users' comments and votes": """
SELECT u.id, u.name, count(DISTINCT c.id) AS comments, count(DISTINCT v.id) AS votes
FROM users u LEFT JOIN comments c ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id
WHERE u.level = 'moderator' GROUP BY u.id, u.name ORDER BY comments DESC, u.name, u.id LIMIT 10""",
    "views by level": """
SELECT u.level, count(*) AS n, sum(p.views) AS views, max(c.score) AS best
FROM users u JOIN posts p ON p.user_id = u.id JOIN comments c ON c.user_id = u.id
GROUP BY u.level ORDER BY u.level""",
    "busiest posts": """
SELECT p.id, count(*) AS activity
FROM posts p JOIN comments c ON c.post_id = p.id JOIN votes v ON v.post_id = p.id
GROUP BY p.id ORDER BY activity DESC, p.id LIMIT 10""",
    "active users by level": """
SELECT u.level, count(DISTINCT u.id) AS active
FROM users u JOIN comments c ON c.user_id = u.id JOIN votes v ON v.user_id = u.id
WHERE c.score > 2 GROUP BY u.level ORDER BY u.level""",
    "with and without votes": """
SELECT u.level, count(*) AS n, count(v.id) AS votes
FROM users u JOIN comments c ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id AND v.kind = 2
GROUP BY u.level ORDER BY u.level""",
    "above own average": """
SELECT count(*) AS posts, sum(p.views) AS views FROM posts p
WHERE p.views > (SELECT 2 * avg(q.views) FROM posts q WHERE q.user_id = p.user_id)""",
    "posts per year": """
SELECT extract(year FROM p.asked) AS asked_in, count(*) AS posts, max(p.views) AS most
FROM posts p GROUP BY extract(year FROM p.asked) ORDER BY 1""",
    "comments on seen posts": """
SELECT c.score, count(*) AS comments FROM posts p JOIN comments c ON c.post_id = p.id
WHERE p.views > 900 GROUP BY c.score ORDER BY c.score""",
    "one account": """
SELECT count(*) AS comments, max(c.score) AS best FROM users u JOIN comments c ON c.user_id = u.id
WHERE u.name = 'user 17'""",
}


@dataclass(frozen=True)
class Site:
    """What was built.

    Attributes
    ----------
    heaviest : float
        Share of the comments that the heaviest account wrote.
    """

    rows: dict[str, int]
    heaviest: float


def generate_site(share: float = 0.0, scale: float = 1.0, seed: int = SEED) -> dict[str, Columns]:
    """All tables as arrays of numbers, the same for a seed on every platform.

    Parameters
    ----------
    share : float
        Of the comments, that the heaviest account is to have; 0 makes all accounts alike.

    Raises
    ------
    InvalidInput
        Unless 0.001 ≤ scale ≤ 100.
    """
    if not 0.001 <= scale <= 100:
        raise InvalidInput(f"scale {scale} is not between 0.001 and 100")
    rows = {name: max(50, int(count * scale)) for name, count in ROWS.items()}
    order = {name: Source(seed, f"order of {name}").permutation(rows[name]) for name in ("users", "posts")}
    flat = _flat(share, rows["users"]) if share else 0.0

    def keys(source: Source, of: str, count: int) -> Ints:
        if not share:
            return source.below(rows[of], count) + 1
        ranks: Ints = order[of][source.zipf(rows[of], count, flat=flat)]
        return ranks + 1

    tables: dict[str, Columns] = {}
    for name, count in rows.items():
        source = Source(seed, name)
        columns: Columns = {"id": np.arange(1, count + 1, dtype=np.int32)}
        for column in TABLES[name]:
            if column in ("user_id", "post_id"):
                columns[column] = keys(source, column.removesuffix("_id") + "s", count).astype(np.int32)
            elif column in _LIMITS:
                columns[column] = source.below(_LIMITS[column], count).astype(np.int32)
        tables[name] = columns
    return tables


_LIMITS: Final = {"level": 5, "reputation": 1000, "views": 1000, "asked": _DAYS, "score": 10, "kind": 4}


def _flat(share: float, count: int) -> float:
    """What Zipf–Mandelbrot weights need so that the first rank has that share."""
    low, high = 0.0, 1e6
    ranks = np.arange(1, count + 1, dtype=np.float64)
    for _ in range(60):
        middle = (low + high) / 2
        weights = 1.0 / (ranks + middle)
        # cumsum adds one after the other on every platform.
        low, high = (middle, high) if weights[0] / np.cumsum(weights)[-1] > share else (low, middle)
    return high


def load_site(
    connection: Any,
    share: float = 0.0,
    scale: float = 1.0,
    seed: int = SEED,
    progress: Callable[[str, float], None] | None = None,
) -> Site:
    """Create and fill the tables on an open DuckDB connection.

    Parameters
    ----------
    progress : callable, optional
        Called with what is being done and the share done, 0 to 1.
    """
    say = progress or (lambda _what, _share: None)
    say("generating", 0.0)
    data = generate_site(share, scale, seed)
    written = np.bincount(data["comments"]["user_id"])
    for number, (name, columns) in enumerate(data.items()):
        say(f"loading {name}", 0.3 + 0.7 * number / len(data))
        insert = f"INSERT INTO {name} SELECT {', '.join(map(_value, TABLES[name]))} FROM generated"
        fill(connection, _ddl(name), insert, columns)
    say("done", 1.0)
    rows = {name: len(columns["id"]) for name, columns in data.items()}
    return Site(rows, float(written.max() / written.sum()))


def load_site_postgres(
    connection: Any,
    share: float = 0.0,
    scale: float = 1.0,
    seed: int = SEED,
    progress: Callable[[str, float], None] | None = None,
) -> Site:
    """The same rows on a psycopg connection in autocommit, with indexes on what refers to other tables."""
    import duckdb

    say = progress or (lambda _what, _share: None)
    with duckdb.connect() as source, tempfile.TemporaryDirectory(prefix="godb_fast-demo-") as folder:
        site = load_site(source, share, scale, seed, lambda what, done: say(what, 0.3 * done))
        file = Path(folder) / "rows.csv"
        for number, name in enumerate(TABLES):
            say(f"copying {name}", 0.3 + 0.6 * number / len(TABLES))
            connection.execute(_ddl(name))
            source.execute(f"COPY {name} TO '{str(file).replace(chr(39), chr(39) * 2)}' (HEADER false)")
            with (
                file.open("rb") as csv,
                connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy,
            ):
                while block := csv.read(_CHUNK):
                    copy.write(block)
            for column in TABLES[name]:
                if column in ("user_id", "post_id"):
                    connection.execute(f"CREATE INDEX ON {name} ({column})")
        say("analyzing", 0.95)
        connection.execute("VACUUM ANALYZE")
    say("done", 1.0)
    return site


def _ddl(name: str) -> str:
    columns = ", ".join(f"{column} {type_} NOT NULL" for column, type_ in TABLES[name].items())
    return f"CREATE TABLE {name} ({columns}, PRIMARY KEY (id))"


def _value(column: str) -> str:
    """A column as DuckDB computes it from the numbers that were generated."""
    if column == "name":
        return "'user ' || id"
    if column == "level":
        return f"[{', '.join(map(repr, _LEVELS))}][level + 1]"
    if column == "asked":
        return "DATE '2015-01-01' + asked::INTEGER"
    return column
