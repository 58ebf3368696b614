"""Other literals for TPC-DS queries, where a literal's column says what else it may be.

Names such as states and categories, and small numbers such as months, are drawn from the data; all years of a
query, in dates and month numbers too, move together. Equal literals of a column stay equal, different ones
different. Everything else is left as it is: this is less than the specification's generator of queries does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

#: Column → the table whose values it is drawn from.
_TEXTS = {
    "s_state": "store", "s_county": "store", "s_city": "store", "ca_state": "customer_address",
    "ca_county": "customer_address", "ca_city": "customer_address", "i_category": "item", "i_color": "item",
    "i_units": "item", "i_size": "item", "cd_gender": "customer_demographics",
    "cd_marital_status": "customer_demographics", "cd_education_status": "customer_demographics",
    "hd_buy_potential": "household_demographics", "cc_county": "call_center",
    "web_company_name": "web_site", "sm_carrier": "ship_mode",
}  # fmt: skip
_NUMBERS = {
    "d_moy": "date_dim", "d_qoy": "date_dim", "i_manufact_id": "item", "i_manager_id": "item",
    "hd_dep_count": "household_demographics", "hd_vehicle_count": "household_demographics",
    "s_market_id": "store",
}  # fmt: skip
_FIRST_YEAR, _LAST_YEAR = 1998, 2002
_LIST = re.compile(
    r"\b(?P<column>[a-z]+_[a-z_]+)\s*(?:=\s*(?P<one>'[^'\n]*'|\d+)(?!\s*[+*/-])|IN\s*\((?P<many>[^()]*)\))",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"'[^']*'|\b\d+\b")
_YEARS = re.compile(
    r"(?P<before>\w*year\w*\s*(?:=|[<>]=?|IN|BETWEEN)\s*\(?\s*)"
    r"(?P<years>\d{4}(?:\s*(?:\+|-|,|AND)\s*\(?\s*\d+)*)",
    re.IGNORECASE,
)
_DATES = re.compile(r"'(\d{4})(-\d{1,2}-\d{1,2})'")
_MONTHS = re.compile(
    r"(d_month_seq\s+(?:BETWEEN|IN)\s*\(?\s*)(\d{4}(?:\s*(?:,|AND|\+)\s*\d+)*)", re.IGNORECASE
)

Values = Callable[[str, str], Sequence[Any]]


def redraw(text: str, rng: random.Random, values: Values) -> str | None:
    """The query with other literals; None where none can be redrawn.

    Parameters
    ----------
    values : callable
        Distinct values of (table, column), sorted.
    """
    drawn = _shift_years(_redraw_lists(text, rng, values), rng)
    return drawn if drawn != text else None


def _redraw_lists(text: str, rng: random.Random, values: Values) -> str:
    olds: dict[str, list[str]] = {}
    for found in _LIST.finditer(text):
        column = found["column"].lower()
        if column in _TEXTS or column in _NUMBERS:
            known = olds.setdefault(column, [])
            known += [old for old in _LITERAL.findall(found["one"] or found["many"]) if old not in known]
    news: dict[str, dict[str, str]] = {}
    for column, literals in olds.items():
        if column in _NUMBERS and (_counted(column, text) or (column == "d_moy" and len(literals) > 1)):
            # Months beside each other, or all of them: the query's form, not its parameters.
            continue
        table = _TEXTS.get(column) or _NUMBERS[column]
        pool = [_literal(value) for value in values(table, column) if value != ""]
        if len(pool) >= len(literals):
            news[column] = dict(zip(literals, rng.sample(pool, len(literals)), strict=True))

    def put(found: re.Match[str]) -> str:
        fresh = news.get(found["column"].lower())
        if fresh is None:
            return found[0]
        part = "one" if found["one"] is not None else "many"
        start = found.start(part) - found.start()
        changed = _LITERAL.sub(lambda old: fresh.get(old[0], old[0]), found[part])
        return found[0][:start] + changed + found[0][start + len(found[part]) :]

    return _LIST.sub(put, text)


def _counted(column: str, text: str) -> bool:
    """Whether something is added to a literal of the column."""
    return re.search(rf"\b{column}\s*(?:=|between)\s*\d+\s*\+", text, re.IGNORECASE) is not None


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _shift_years(text: str, rng: random.Random) -> str:
    named = [
        *(int(year) for found in _YEARS.finditer(text) for year in re.findall(r"\d{4}", found["years"])),
        *(int(found[1]) for found in _DATES.finditer(text)),
        # Month 1188 is January 1999.
        *(
            1900 + int(month) // 12
            for found in _MONTHS.finditer(text)
            for month in re.findall(r"\d{4}", found[2])
        ),
    ]
    if not named or min(named) < _FIRST_YEAR:
        return text
    by = [
        delta
        for delta in range(_FIRST_YEAR - min(named), _LAST_YEAR - max(named) + 1)
        if delta and "-02-29" not in text
    ]
    if not by:
        return text
    shift = rng.choice(by)

    def years(found: re.Match[str]) -> str:
        return found["before"] + _add(found["years"], shift)

    text = _YEARS.sub(years, text)
    text = _DATES.sub(lambda found: f"'{int(found[1]) + shift}{found[2]}'", text)
    return _MONTHS.sub(lambda found: found[1] + _add(found[2], 12 * shift), text)


def _add(numbers: str, amount: int) -> str:
    """Four-digit numbers moved by an amount; what is added to them stays."""
    return re.sub(r"\d{4}", lambda found: str(int(found[0]) + amount), numbers)
