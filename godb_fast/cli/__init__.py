"""The ``godb-fast`` command.

Exit codes: 0, all went well; 1, the result says failure (answers differ, some statements fail); 2, wrong
usage or unusable input; 130, interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from godb_fast.cli.arguments import parser
from godb_fast.errors import GodbError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Trees and µ on a terminal that cannot show them become question marks, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with _quiet():
            code: int = options.command(options)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, and the exit must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except GodbError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RecursionError:
        print("error: the statement is nested too deeply to be read", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Fallbacks are in the report; only faults of the store and of ourselves reach stderr besides."""
    levels = {"godb_fast": logging.ERROR, "godb_fast.store": logging.WARNING}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
