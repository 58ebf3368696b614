"""Parameters of a statement: psycopg's ``%s`` and ``%(name)s``, and the server's own ``$1``.

psycopg's ordinary cursors take ``%s`` and ``%(name)s`` wherever they stand and double a percent sign that is
meant (only where parameters are given at all); its raw cursors take ``$1``. A statement with ``$1`` and a
sequence of parameters is accepted on every connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from godb_fast.engines.base import Parameters
from godb_fast.errors import InvalidInput

_PERCENT: Final = re.compile(r"%(?:(%)|\(([^)]*)\)([sbt])|([sbt]))?")
_NUMBERED: Final = re.compile(r"\$[1-9]\d*")
_NUMBER: Final = re.compile(r"\$(\d+)")


def is_numbered(sql: str, params: Parameters) -> bool:
    """Whether a statement names its parameters ``$1``, ``$2`` … and has none of psycopg's places.

    Raises
    ------
    InvalidInput
        If it also doubles a percent sign: that would be one sign on one connection and two on another.
    """
    if params is None or isinstance(params, Mapping) or "$" not in sql or not _NUMBERED.search(sql):
        return False
    doubled = False
    for found in _PERCENT.finditer(sql):
        if found[2] is not None or found[4] is not None:
            return False
        doubled = doubled or found[1] is not None
    if doubled:
        raise InvalidInput("a statement with $1 has a doubled % sign; write %s for its parameters")
    return True


def numbered(sql: str, params: Parameters) -> tuple[str, list[Any], list[str]]:
    """A statement with ``$1``, ``$2`` … in place of psycopg's places, the values, and their formats.

    Each format is ``s`` (the driver chooses), ``b`` (binary) or ``t`` (text), as in psycopg.

    Raises
    ------
    InvalidInput
        If places and parameters do not fit each other.
    """
    if params is None:
        return sql, [], []
    if is_numbered(sql, params):
        assert not isinstance(params, Mapping)
        return sql, list(params), ["s"] * len(params)
    values: list[Any] = []
    formats: list[str] = []
    known: dict[tuple[str, str], int] = {}
    pieces: list[str] = []
    end = 0
    for found in _PERCENT.finditer(sql):
        pieces.append(sql[end : found.start()])
        end = found.end()
        if found[1] is not None:
            pieces.append("%")
        elif found[2] is not None:
            if not isinstance(params, Mapping):
                raise InvalidInput(f"the statement has %({found[2]})s, so parameters are given by name")
            if found[2] not in params:
                raise InvalidInput(f"no parameter {found[2]!r} is given")
            key = (found[2], found[3])
            if key not in known:
                values.append(params[found[2]])
                formats.append(found[3])
                known[key] = len(values)
            pieces.append(f"${known[key]}")
        elif found[4] is not None:
            if isinstance(params, Mapping):
                raise InvalidInput("the statement has %s, so parameters are given as a sequence")
            if len(values) == len(params):
                raise InvalidInput(f"the statement has more places than the {len(params)} parameters given")
            values.append(params[len(values)])
            formats.append(found[4])
            pieces.append(f"${len(values)}")
        else:
            raise InvalidInput("a statement with parameters doubles each % sign that is meant as such")
    pieces.append(sql[end:])
    if not isinstance(params, Mapping) and len(values) != len(params):
        raise InvalidInput(f"{len(params)} parameters are given for {len(values)} places")
    return "".join(pieces), values, formats


def placed(literals: Sequence[Any], kinds: Sequence[str], params: Parameters) -> list[Any]:
    """Source texts of slots in which the lexer numbered ``%s``: as named places, which may be reordered.

    A rendered statement may hold its conditions in another order. ``$2`` becomes ``%(2)s``, so that each
    place keeps its value whatever order it comes to stand in; with :func:`named`.
    """
    if params is None:
        return list(literals)

    def place(text: Any) -> Any:
        if isinstance(text, str):
            number = _NUMBER.fullmatch(text)
            return text if number is None else f"%({number[1]})s"
        return tuple(place(item) for item in text)

    return [
        place(text) if kind in ("parameter", "list") else text
        for text, kind in zip(literals, kinds, strict=True)
    ]


def named(params: Parameters) -> Parameters:
    """The parameters under the names that :func:`placed` uses."""
    if params is None or isinstance(params, Mapping):
        return params
    return {str(number): value for number, value in enumerate(params, 1)}


def doubled(sql: str) -> str:
    """A text with psycopg's places in which every other percent sign is doubled."""
    return _PERCENT.sub(lambda found: "%%" if found[0] == "%" else found[0], sql)
