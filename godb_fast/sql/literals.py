"""From a literal's source text to its value, without a parser."""

from __future__ import annotations

import math
import re
from typing import Final

_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[0-7]{1,3}|.)", re.DOTALL)
_PLAIN: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DOLLAR: Final = re.compile(r"\$[A-Za-z_\x80-\U0010ffff]?[A-Za-z0-9_\x80-\U0010ffff]*\$")


def literal_value(text: str) -> float | str | None:
    """Value of a literal: float for a number or a boolean, str for a string, None for NULL.

    None also for a parameter, whose value is not in the text, and for a number out of range.
    """
    head = text[:1]
    if head == "'":
        return text[1:-1].replace("''", "'")
    if head in ("e", "E") and text[1:2] == "'":
        return _ESCAPE.sub(_unescape, text[2:-1].replace("''", "'"))
    if head == "$" and text[-1:] == "$" and (opened := _DOLLAR.match(text)) is not None:
        return text[opened.end() : -opened.end()]
    word = text.lower()
    if word in ("true", "false"):
        return float(word == "true")
    digits = word.replace("_", "").replace(" ", "")
    try:
        if digits.lstrip("-").startswith(("0x", "0o", "0b")):
            value = float(int(digits, 0))
        else:
            value = float(digits)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
    elif code[0] in "01234567":
        number = int(code, 8)
    else:
        return _PLAIN.get(code, code)
    return chr(number) if number < 0x110000 else code
