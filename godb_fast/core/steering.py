"""What we ask of an engine. One type for every engine; empty means the engine's own plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

#: A relation number of the block, or (left, right) with right as the build side.
JoinTree: TypeAlias = "int | tuple[JoinTree, JoinTree]"


@dataclass(frozen=True)
class Steering:
    """A join tree per block, rewrites, session settings and hints.

    Parameters
    ----------
    join_trees : tuple of (int, JoinTree)
        Block number and its join tree; blocks that are not named keep the engine's choice.
    rewrites : tuple of str
        Names with versions of rewrite rules to apply, in order.
    settings : tuple of (str, str)
        Session settings for this statement.
    hints : tuple of str
        Hint texts, for engines that take them.
    """

    join_trees: tuple[tuple[int, JoinTree], ...] = ()
    rewrites: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    hints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.join_trees or self.rewrites or self.settings or self.hints)

    def to_json(self) -> str:
        """Canonical JSON text, the same on every platform."""
        return json.dumps(
            {
                "join_trees": self.join_trees,
                "rewrites": self.rewrites,
                "settings": self.settings,
                "hints": self.hints,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Steering:
        """The steering that :meth:`to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            tuple((int(block), _tree(tree)) for block, tree in raw["join_trees"]),
            tuple(raw["rewrites"]),
            tuple((str(name), str(value)) for name, value in raw["settings"]),
            tuple(raw["hints"]),
        )

    @cached_property
    def key(self) -> str:
        """A short stable hash, for quarantine lists and memo keys."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()


def _tree(raw: Any) -> JoinTree:
    return int(raw) if isinstance(raw, int) else (_tree(raw[0]), _tree(raw[1]))


NO_STEERING: Final = Steering()
