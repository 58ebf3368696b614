"""A statement as tokens: what is parsed (with stand-ins for the literals) and what is printed.

sqlglot says what a statement means; the text that reaches the engine is always put together from the
statement's own tokens. So nothing that we do not touch can change: not a function's spelling, not an
output column's name, not a literal.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

from godb_fast.sql.fingerprint import Fingerprint, lexer

_WORD: Final = 0
_SLOT: Final = 5
#: Members that an abridged list keeps.
_LISTED: Final = 8
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")


@dataclass(frozen=True, eq=False)
class Tokens:
    """All tokens of a statement, lists of literals being one.

    Parameters
    ----------
    texts : tuple of str
        As the statement spells them.
    words : tuple of str
        Lower case for keywords and unquoted identifiers; quoted ones and everything else as in ``texts``.
    slots : tuple of int
        The slot that a token is, or -1.
    spaced : tuple of bool
        Whether white space or a comment stands before the token.
    depth : tuple of int
        How many brackets are open around it; a bracket itself counts as outside.
    partner : tuple of int
        The bracket that closes or opens, -1 for other tokens and unmatched brackets.
    parse_text : str
        What is parsed.
    at_offset : dict of int to int
        From a token's offset in ``parse_text`` to its number.
    stand_ins : dict of str to int
        From a literal of ``parse_text`` to its slot.
    """

    texts: tuple[str, ...]
    words: tuple[str, ...]
    slots: tuple[int, ...]
    spaced: tuple[bool, ...]
    depth: tuple[int, ...]
    partner: tuple[int, ...]
    parse_text: str
    at_offset: dict[int, int]
    stand_ins: dict[str, int]
    literals: tuple[str | tuple[str, ...], ...]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def read(found: Fingerprint) -> Tokens:
    """Tokens of a statement whose fingerprint is known (and within the limits)."""
    again = lexer(found.dialect).tokens(found.sql)
    raw = found.sql if isinstance(found.sql, bytes) else found.sql.encode("utf-8")
    rows = array("i")
    rows.frombytes(again.token_bytes)
    literals, kinds = found.literals, found.slot_kinds
    base = _base(found.key)
    texts, words, slots, spaced, depth, offsets = [], [], [], [], [], []
    partner = [-1] * (len(rows) // 4)
    pieces: list[str] = []
    stand_ins: dict[str, int] = {}
    open_brackets: list[int] = []
    length = previous = slot = 0
    for number in range(len(rows) // 4):
        start, end, kind = rows[4 * number], rows[4 * number + 1], rows[4 * number + 2]
        text = raw[start:end].decode("utf-8")
        spaced.append(start > previous)
        previous = end
        word = text.lower() if kind == _WORD else text
        if kind == _SLOT:
            slots.append(slot)
            text_to_parse, name = _stand_in(base + slot, kinds[slot], literals[slot], text)
            stand_ins[name] = slot
            slot += 1
        else:
            slots.append(-1)
            text_to_parse = text
        if kind != _SLOT and text in _CLOSING and open_brackets:
            partner[number] = open_brackets.pop()
            partner[partner[number]] = number
        depth.append(len(open_brackets))
        if kind != _SLOT and text in _OPENING:
            open_brackets.append(number)
        if pieces and text != "." and pieces[-1] != ".":
            pieces.append(" ")
            length += 1
        offsets.append(length)
        pieces.append(text_to_parse)
        length += len(text_to_parse)
        texts.append(text)
        words.append(word)
    return Tokens(
        tuple(texts),
        tuple(words),
        tuple(slots),
        tuple(spaced),
        tuple(depth),
        tuple(partner),
        "".join(pieces),
        {offset: number for number, offset in enumerate(offsets)},
        stand_ins,
        literals,
        kinds,
    )


def abridged(found: Fingerprint) -> str:
    """The statement with only the first few members of each list of literals.

    What a statement is and does rests on the kinds of its literals, not on how many a list holds; reading a
    list of a hundred thousand costs an engine a second.
    """
    if not any(len(literal) > _LISTED for literal in found.literals if isinstance(literal, tuple)):
        return found.sql if isinstance(found.sql, str) else found.sql.decode("utf-8")
    again = lexer(found.dialect).tokens(found.sql)
    raw = found.sql if isinstance(found.sql, bytes) else found.sql.encode("utf-8")
    rows = array("i")
    rows.frombytes(again.token_bytes)
    pieces: list[bytes] = []
    literals = iter(found.literals)
    done = 0
    for number in range(0, len(rows), 4):
        if rows[number + 2] != _SLOT:
            continue
        literal = next(literals)
        if isinstance(literal, tuple) and len(literal) > _LISTED:
            pieces.append(raw[done : rows[number]])
            pieces.append(", ".join(literal[:_LISTED]).encode("utf-8"))
            done = rows[number + 1]
    return b"".join((*pieces, raw[done:])).decode("utf-8")


def _base(key: bytes) -> int:
    """A number that is no part of any literal that stays in the text."""
    base = 810_000_000
    while str(base // 10_000).encode() in key:
        base += 10_000_000
    return base


def _stand_in(number: int, kind: str, literal: str | tuple[str, ...], text: str) -> tuple[str, str]:
    """What is parsed in place of a literal, and the name that the parser then gives it."""
    first = literal[0] if isinstance(literal, tuple) else literal
    if kind == "string" or (kind == "list" and first[:1] in ("'", "e", "E", "$") and first[1:2] != ""
                            and not first[1:2].isdigit()):  # fmt: skip
        return f"'{number}'", str(number)
    name = f"{number}.5" if kind == "decimal" else str(number)
    return (f"-{name}" if kind in ("integer", "decimal") and text.startswith("-") else name), name
