"""Addresses of servers: those that mean this machine are one, however they are written."""

from __future__ import annotations

import re
from typing import Final

from godb_fast.errors import InvalidInput

#: What all spellings of this machine are called.
HERE: Final = "localhost"
#: Addresses of this machine; folders of sockets, and abstract ones, begin with a slash or an at sign.
_HERE: Final = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1|[/@].*|", re.DOTALL)
_PLACE: Final = re.compile(r"(?P<host>.*?):(?P<rest>\d*/.*)", re.DOTALL)


def check_text(address: str) -> None:
    """Refuse what can be no path and no URL: drivers and the file system have errors of their own for it.

    Raises
    ------
    InvalidInput
        For a NUL, or for what is no Unicode text (bytes of a name that is not UTF-8).
    """
    if "\0" in address:
        raise InvalidInput(f"no database has the address {address!r}: it holds a NUL character")
    try:
        address.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"no database has the address {address!r}: {address[error.start : error.end]!r} is no character; "
            "names of files are to be UTF-8"
        ) from None


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
