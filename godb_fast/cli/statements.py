"""Statements of an SQL file, with their names and lines."""

from __future__ import annotations

import sys
from pathlib import Path

from godb_fast.errors import InvalidInput
from godb_fast.sql.scripts import Statement, split

__all__ = ["Statement", "read", "split"]


def read(path: str) -> str:
    """The text of a file; ``-`` reads standard input.

    Raises
    ------
    InvalidInput
        If it cannot be read or is not UTF-8.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not UTF-8 text: byte 0x{content[error.start]:02x} at offset {error.start}"
        ) from error
