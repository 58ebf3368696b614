"""Types of which equal values are the same value, and what the engines make of sums of them."""

from __future__ import annotations

import re
from typing import Final

from godb_fast.sql.scopes import words

_DUCKDB: Final = words(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT VARCHAR "
    "BLOB DATE TIME TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS UUID"
) | {"TIMESTAMP WITH TIME ZONE"}
_POSTGRES: Final = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "oid", "text", "character varying", "bytea", "date",
        "uuid", "time without time zone", "timestamp without time zone", "timestamp with time zone",
    }
)  # fmt: skip
#: DuckDB's sums of these are HUGEINT.
_SUMMED: Final = words("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT")
_PRECISION: Final = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")


def is_identity(kind: str | None, dialect: str) -> bool:
    """Whether values of a type that GROUP BY holds equal cannot be told apart.

    Not so for floats (−0.0 and 0.0), PostgreSQL's unconstrained numeric (1.0 and 1.00), CHAR(n), intervals
    (1 month and 30 days), times with zones, JSON and nested types. Texts are, under the collations that
    the engines' ``effects`` let pass.
    """
    if kind is None:
        return False
    if dialect == "duckdb":
        name = kind.upper()
        return name in _DUCKDB or name.startswith(("DECIMAL(", "ENUM("))
    name = _PRECISION.sub("", kind.lower()).replace("  ", " ").strip()
    if name == "numeric":
        return _PRECISION.search(kind) is not None
    return name in _POSTGRES


def sum_type(kind: str | None, dialect: str) -> str | None:
    """Type of SUM over a type; None where sums are not exact, or not known to be."""
    if kind is None:
        return None
    if dialect == "duckdb":
        name = kind.upper()
        if name in _SUMMED:
            return "HUGEINT"
        found = _PRECISION.search(name)
        if name.startswith("DECIMAL(") and found is not None:
            return f"DECIMAL(38, {found[2] or 0})"
        return None
    name = kind.lower()
    if name in ("smallint", "integer"):
        return "BIGINT"
    return "NUMERIC" if name == "bigint" or name.startswith("numeric") else None
