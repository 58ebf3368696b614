"""Addresses of servers: those that mean this machine are one, however they are written."""

from __future__ import annotations

import re
from typing import Final

#: What all spellings of this machine are called.
HERE: Final = "localhost"
#: Addresses of this machine; folders of sockets, and abstract ones, begin with a slash or an at sign.
_HERE: Final = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1|[/@].*|", re.DOTALL)
_PLACE: Final = re.compile(r"(?P<host>.*?):(?P<rest>\d*/.*)", re.DOTALL)


def is_here(place: str) -> bool:
    """Whether ``host:port/database`` is on this machine."""
    found = _PLACE.fullmatch(place)
    return found is not None and _HERE.fullmatch(found["host"]) is not None


def plainly(place: str) -> str:
    """``host:port/database`` with one spelling for this machine; any other text stays as it is."""
    found = _PLACE.fullmatch(place)
    if found is None or not _HERE.fullmatch(found["host"]):
        return place
    return f"{HERE}:{found['rest']}"
