"""The ``godb-fast`` command.

Exit codes: 0, all went well; 1, the result says failure (answers differ, some statements fail); 2, wrong
usage or unusable input; 130, interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, and the exit must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _main(arguments: Sequence[str] | None) -> int:
    with _leaving_at_once():
        from godb_fast.cli.arguments import parser
        from godb_fast.errors import GodbError

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
    except GodbError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RecursionError:
        print("error: the statement is nested too deeply to be read", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _leaving_at_once() -> Iterator[None]:
    """While modules are imported Ctrl-C ends the process as it is: there is nothing to put in order yet.

    Importing takes longer than many commands, and native modules make other errors of a KeyboardInterrupt.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def leave(number: int, frame: object) -> None:
        os.write(2, b"interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Fallbacks are in the report; only faults of the store and of ourselves reach stderr besides."""
    import logging

    levels = {"godb_fast": logging.ERROR, "godb_fast.store": logging.WARNING}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
