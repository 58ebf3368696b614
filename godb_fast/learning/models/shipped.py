"""Models that ship with the package, and which one serves: the user's own come first.

In a checkout they lie in ``models/``; a wheel carries them in the package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from godb_fast.errors import ModelRefused
from godb_fast.learning.models.serving import Model

_package = Path(__file__).resolve().parents[2]
_checkout = _package.parent / "models"

#: The folder of shipped models; it need not exist.
SHIPPED: Final = _package / "_models" if (_package / "_models").is_dir() else _checkout


def find(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    refused: list[ModelRefused] | None = None,
    **how: Any,
) -> Model | None:
    """The model that serves under a name: the newest of the user's folder, else the newest that ships.

    Parameters
    ----------
    folder : path, optional
        Where ``godb-fast train`` exported to.
    refused : list, optional
        Takes what was refused on the way.
    **how
        As :class:`Model` takes it.
    """
    for place in (folder, SHIPPED):
        found = None if place is None else Model.newest(place, name, refused=refused, **how)
        if found is not None:
            return found
    return None
