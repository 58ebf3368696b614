"""From the literals of a statement and the parameters of a driver to one value per slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from godb_fast.core import Template
from godb_fast.planning.domains import UNKNOWN
from godb_fast.sql.literals import literal_value

#: Parameters as a driver takes them: by position or by name.
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Decode: TypeAlias = Callable[[Any], Any]


class Binder:
    """Binds the slots of one template."""

    __slots__ = ("_decoders", "_parameters")

    def __init__(self, template: Template) -> None:
        kinds = {slot.index: slot.kind for slot in template.slots}
        self._decoders = tuple(
            _DECODERS.get(kinds.get(index, ""), decode) for index in range(max(kinds, default=-1) + 1)
        )
        self._parameters = any(kind in ("parameter", "list") for kind in kinds.values())

    def __call__(self, literals: Sequence[Any], params: Parameters = None) -> list[Any]:
        """Values by slot: numbers as float, strings as text, lists as lists, what is not known as UNKNOWN.

        ``literals`` are source texts, in the order of the slots; values of other types stand for themselves.
        A slot that has no literal is UNKNOWN.
        """
        values = [decoder(literal) for decoder, literal in zip(self._decoders, literals, strict=False)]
        if len(values) < len(self._decoders):
            values.extend([UNKNOWN] * (len(self._decoders) - len(values)))
        if self._parameters:
            for index, value in enumerate(values):
                if type(value) is Marker:
                    values[index] = value.bound(params)
                elif type(value) is list:
                    values[index] = [item.bound(params) if type(item) is Marker else item for item in value]
        return values


class Marker:
    """A parameter's place: ``$2``, ``:name``, ``$name``, ``%(name)s`` (the lexer numbers ``?``, ``%s``)."""

    __slots__ = ("key",)

    def __init__(self, text: str) -> None:
        name = text[2:-2] if text.startswith("%(") else text[1:]
        self.key: int | str = int(name) - 1 if name.isdecimal() else name

    def bound(self, params: Parameters) -> Any:
        """The parameter's value; UNKNOWN if the driver was given none for it."""
        if params is None:
            return UNKNOWN
        if isinstance(params, Mapping):
            names = (self.key,) if isinstance(self.key, str) else (str(self.key + 1),)
            return params.get(names[0], UNKNOWN)
        if isinstance(self.key, int) and 0 <= self.key < len(params):
            return params[self.key]
        return UNKNOWN


def decode(literal: Any) -> Any:
    """The value of one literal."""
    if type(literal) is not str:
        return [decode(item) for item in literal] if isinstance(literal, (list, tuple)) else literal
    head = literal[:1]
    if head in ("$", ":", "@", "?", "%") and literal[-1:] != "$":
        return Marker(literal)
    value = literal_value(literal)
    if value is None and literal.strip().lower() != "null":
        return UNKNOWN
    return value


def _number(literal: Any) -> Any:
    try:
        return float(literal)
    except (TypeError, ValueError):
        return decode(literal)


def _string(literal: Any) -> Any:
    if type(literal) is str and literal[:1] == "'":
        return literal[1:-1].replace("''", "'")
    return decode(literal)


def _list(literal: Any) -> Any:
    if type(literal) is not tuple:
        return decode(literal)
    # Lists of strings may be long.
    return [
        item[1:-1].replace("''", "'") if type(item) is str and item[:1] == "'" else decode(item)
        for item in literal
    ]


_DECODERS: dict[str, Decode] = {
    "integer": _number,
    "decimal": _number,
    "string": _string,
    "list": _list,
}
