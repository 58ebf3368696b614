"""A query in other words: what is sent in its place, and when that is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from godb_fast.core.template import Segments


@dataclass(frozen=True)
class Guard:
    """A condition on literals on which a proof rests; evaluated at every call.

    Parameters
    ----------
    kind : str
        ``distinct``: the values in these slots are pairwise different, members of lists too, and none of them
        is NULL or a parameter (see :func:`godb_fast.sql.guards.holds`). ``int4``: they are whole numbers of
        the type that both engines give to small ones.
    slots : tuple of int
        Slots of the template.
    """

    kind: str
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Rewrite:
    """A template in other words.

    Parameters
    ----------
    name : str
        ``rule@version:place``, as ``Steering.rewrites`` names it; rules one after the other joined by ``+``.
    segments : Segments
        The whole statement.
    guards : tuple of Guard
        Calls whose literals break one keep the original.
    note : str
        One sentence on what was done.
    """

    name: str
    segments: Segments
    guards: tuple[Guard, ...] = ()
    note: str = ""
