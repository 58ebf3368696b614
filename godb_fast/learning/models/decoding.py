"""Where bytes that nobody vouches for are looked into: whatever goes wrong there is the file's fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from godb_fast.errors import GodbError, ModelRefused


@contextmanager
def decoding(key: str) -> Iterator[None]:
    """Any error in here refuses the model, so that the version before serves.

    A hash says that a file is what its card describes, not that it makes sense. What is known to go wrong is
    checked by name; this is for what is not known yet, MemoryError included: an allocation that a model
    asked for and that failed has taken nothing.

    Raises
    ------
    ModelRefused
        With the reason ``malformed``, naming the error. Errors of our own, and of a module that cannot be
        imported, stay what they are.
    """
    try:
        yield
    except (GodbError, ImportError):
        raise
    except Exception as error:
        raise ModelRefused(
            f"model {key} cannot be used: {type(error).__name__}: {error}", "malformed"
        ) from error
