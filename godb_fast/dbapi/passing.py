"""Objects that stand for a driver's: what they do not do themselves, the driver's object does."""

from __future__ import annotations

from typing import Any


class Passing:
    """Stands for a driver's connection or cursor; attributes are read, set and deleted on that.

    Subclasses name their own attributes in ``__slots__``.
    """

    __slots__ = ("__weakref__", "_raw")

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        if name == "_raw":
            # A copy or an unfinished object: there is nothing to pass on to.
            raise AttributeError(name)
        return getattr(self._raw, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _own_names(type(self)):
            object.__setattr__(self, name, value)
        else:
            setattr(self._raw, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._raw, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._raw)})

    def __repr__(self) -> str:
        return f"<godb_fast {type(self).__name__} of {self._raw!r}>"


_names: dict[type, frozenset[str]] = {}


def _own_names(kind: type) -> frozenset[str]:
    found = _names.get(kind)
    if found is None:
        found = _names[kind] = frozenset(
            name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())
        )
    return found
