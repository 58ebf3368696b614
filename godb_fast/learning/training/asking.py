"""What a training is asked for: refused before anything is read where it cannot be done."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from godb_fast.errors import InvalidInput, MissingDependency, shown
from godb_fast.learning.models import ModelFolder
from godb_fast.learning.retraining import NEEDED, why_missing
from godb_fast.store import SqliteStore

#: Of scikit-learn's random numbers.
MOST_SEED: Final = 2**32 - 1


def check_installed() -> None:
    """Raise MissingDependency, with what to install, where training is not possible."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(why_missing(module))


def check_asked(
    engine: str | None,
    database: str | None,
    until: datetime | None,
    seed: int,
    trained_from: str,
    progress: Callable[[str, float], None] | None,
) -> None:
    """Refuse what cannot be asked of a training with InvalidInput."""
    for name, text in (("engine", engine), ("database", database), ("trained_from", trained_from)):
        if (text is None and name != "trained_from") or _is_text(text):
            continue
        raise InvalidInput(f"{name} is {shown(text)}; give a text of some letters, or leave it out")
    moment: Any = until
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise InvalidInput(f"until is {shown(moment)}; give a datetime with a time zone, or None for now")
    number: Any = seed
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_SEED:
        raise InvalidInput(f"seed is {shown(number)}; give a whole number from 0 to {MOST_SEED}")
    told: Any = progress
    if told is not None and not callable(told):
        raise InvalidInput(f"progress is {shown(told)}; give a function to call, or None")


def store_of(store: SqliteStore | str | os.PathLike[str]) -> SqliteStore:
    """The store to learn from.

    Raises
    ------
    InvalidInput
        If there is none.
    """
    given: Any = store
    if not isinstance(given, SqliteStore):
        if not isinstance(given, str | os.PathLike):
            raise InvalidInput(f"store is {shown(given)}; give the path of a store, or a SqliteStore")
        given = SqliteStore(given)
    found: SqliteStore = given
    try:
        there = found.path.exists()
    except OSError as error:
        raise InvalidInput(f"cannot look for the store {found.path}: {error.strerror or error}") from error
    if not there:
        raise InvalidInput(f"there is no store {found.path}; name one, or run queries first")
    return found


def folder_of(store: SqliteStore, folder: ModelFolder | str | os.PathLike[str] | None) -> ModelFolder:
    """Where models go: better refused now than after all that training takes.

    Raises
    ------
    InvalidInput
        If it is no folder.
    ModelRefused
        If it cannot be written.
    """
    given: Any = store.models if folder is None else folder
    if not isinstance(given, ModelFolder):
        if not isinstance(given, str | os.PathLike):
            raise InvalidInput(f"folder is {shown(given)}; give a path, or None for the store's own folder")
        given = ModelFolder(given)
    found: ModelFolder = given
    found.check_writable()
    return found


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
