"""LIKE patterns, taken apart once: what they begin with, how much they demand, and a matcher.

The matcher looks for the pieces between ``%`` from left to right, which decides LIKE in time linear in the
text for any pattern; a regular expression with many ``.*`` would not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_PARTS: Final = re.compile(r"\\[%_\\]|.", re.DOTALL)


class Pattern:
    """A LIKE (``fold``: ILIKE) pattern.

    Attributes
    ----------
    exact : str or None
        The only text that matches, if the pattern has no wildcard (and case matters).
    prefix : str
        The literal characters before the first wildcard.
    prefix_end : str
        The least text above all that begin with ``prefix``.
    literals : int
        Number of literal characters.
    everything : bool
        Any text matches (``%``).
    matches : callable
        Whether a text (in lower case, for ILIKE) matches.
    """

    __slots__ = (
        "_first",
        "_last",
        "_middle",
        "_whole",
        "everything",
        "exact",
        "fold",
        "literals",
        "matches",
        "prefix",
        "prefix_end",
    )

    def __init__(self, text: str, fold: bool) -> None:
        self.fold = fold
        pieces: list[list[str | None]] = [[]]
        for part in _PARTS.findall(text.lower() if fold else text):
            if part == "%":
                pieces.append([])
            elif part == "_":
                pieces[-1].append(None)
            else:
                pieces[-1].append(part[-1] if len(part) == 2 else part)
        self.literals = sum(character is not None for piece in pieces for character in piece)
        self._whole = len(pieces) == 1
        wild = any(character is None for piece in pieces for character in piece)
        self.exact = None
        if self._whole and not wild and not fold:
            self.exact = "".join(character for character in pieces[0] if character is not None)
        prefix: list[str] = []
        for character in pieces[0]:
            if character is None:
                break
            prefix.append(character)
        self.prefix = "".join(prefix)
        last = self.prefix[-1:]
        self.prefix_end = self.prefix[:-1] + chr(min(ord(last) + 1, 0x10FFFF)) if last else ""
        self._first = _Piece(pieces[0])
        self._last = _Piece(pieces[-1])
        self._middle = tuple(_Piece(piece) for piece in pieces[1:-1] if piece)
        self.everything = len(pieces) > 1 and not any(pieces)
        #: Whether one text matches; the frequent forms ``%text%``, ``text%`` and ``%text`` without a detour.
        self.matches = self._matches
        if not wild and len(pieces) == 3 and not pieces[0] and not pieces[2]:
            piece = "".join(character or "" for character in pieces[1])
            self.matches = lambda text: piece in text
        elif not wild and len(pieces) == 2 and not (pieces[0] and pieces[1]):
            piece = "".join(character or "" for character in pieces[0] or pieces[1])
            self.matches = (
                (lambda text: text.startswith(piece)) if pieces[0] else (lambda text: text.endswith(piece))
            )

    def _matches(self, text: str) -> bool:
        first, last = self._first, self._last
        if self._whole:
            return len(text) == first.length and first.at(text, 0)
        end = len(text) - last.length
        if end < first.length or not first.at(text, 0):
            return False
        position = first.length
        for piece in self._middle:
            position = piece.find(text, position, end)
            if position < 0:
                return False
            position += piece.length
        return last.at(text, end)


class _Piece:
    """A run of characters and single-character wildcards between two ``%``."""

    __slots__ = ("_expression", "_text", "length")

    def __init__(self, characters: list[str | None]) -> None:
        self.length = len(characters)
        self._text = "".join(character or "" for character in characters)
        self._expression = None
        if len(self._text) != self.length:
            source = "".join("." if character is None else re.escape(character) for character in characters)
            self._expression = re.compile(source, re.DOTALL)

    def at(self, text: str, position: int) -> bool:
        if self._expression is None:
            return text.startswith(self._text, position)
        return self._expression.match(text, position) is not None

    def find(self, text: str, position: int, end: int) -> int:
        if self._expression is None:
            return text.find(self._text, position, end)
        match = self._expression.search(text, position, end)
        return -1 if match is None else match.start()


@lru_cache(maxsize=4096)
def pattern(text: str, fold: bool) -> Pattern:
    """The pattern of a text; the same object for the same text, so that it serves as a key."""
    return Pattern(text, fold)
