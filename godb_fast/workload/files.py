"""Log files as lines of bytes: rotated, compressed, damaged, of any size, in bounded memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from godb_fast.errors import InvalidInput

#: A longer line is cut there; the rest of it is passed over.
MAX_LINE: Final = 4_000_000
#: What is looked at to tell a file's format.
SNIFFED: Final = 65_536
#: Lines between two reports of progress.
_REPORTED: Final = 20_000
_GZIP: Final = b"\x1f\x8b"
#: The same server's log in several formats: this one first.
_FORMATS: Final = (".csv", ".json", ".log")
_SUFFIX: Final = re.compile(r"\.(?:csv|json|log)(?=\.|$)")

#: Takes a file's name and the share of all bytes that is read, 0 to 1.
Progress = Callable[[str, float], None]


def log_files(paths: tuple[str, ...]) -> list[Path]:
    """The files that paths name: files as they are, and those in folders.

    A server writes ``x.log``, ``x.csv`` and ``x.json`` of one and the same: in a folder, only the one
    that is easiest to read is taken.

    Raises
    ------
    InvalidInput
        If a path does not exist or a folder is empty.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.exists():
            raise InvalidInput(f"there is no file or folder {given}")
        if not path.is_dir():
            found.append(path)
            continue
        inside = _in_folder(path)
        if not inside:
            raise InvalidInput(f"there is no file in {given}")
        found += inside
    return list(dict.fromkeys(found))


def _in_folder(folder: Path) -> list[Path]:
    same: dict[tuple[Path, str], list[Path]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                same.setdefault((path.parent, _SUFFIX.sub("", name)), []).append(path)
    return [min(alike, key=_preference) for alike in same.values()]


def _preference(path: Path) -> int:
    found = _SUFFIX.search(path.name)
    return _FORMATS.index(found[0]) if found is not None else len(_FORMATS)


class LogReader:
    """Lines of several files, one after the other.

    Parameters
    ----------
    files : list of Path
        What is read.
    progress : callable, optional
        Told now and then how far it is.
    """

    def __init__(self, files: list[Path], progress: Progress | None = None) -> None:
        self.files = files
        #: What was wrong with files, for people.
        self.notes: list[str] = []
        self._progress = progress
        self._whole = sum(_size(path) for path in files) or 1
        self._before = 0

    def each(self) -> Iterator[tuple[Path, bytes, Iterator[bytes]]]:
        """Each file that can be opened, with its beginning and its lines; notes say what else there was."""
        for path in self.files:
            try:
                with _opened(path) as (stream, raw):
                    beginning = stream.peek(SNIFFED)[:SNIFFED]
                    yield path, beginning, self._lines(path, stream, raw)
            except OSError as error:
                self.notes.append(f"{path} cannot be read: {error.strerror or error}")
            self._before += _size(path)

    def _lines(self, path: Path, stream: io.BufferedReader, raw: IO[bytes]) -> Iterator[bytes]:
        number = 0
        try:
            while True:
                line = stream.readline(MAX_LINE)
                if not line:
                    return
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    self.notes.append(f"{path} has a line of more than {MAX_LINE:,} bytes, which is cut")
                    while (more := stream.readline(MAX_LINE)) and not more.endswith(b"\n"):
                        pass
                number += 1
                if self._progress is not None and number % _REPORTED == 0:
                    self._progress(path.name, min((self._before + _position(raw)) / self._whole, 1.0))
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.notes.append(f"{path} is cut off or damaged: {error}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _position(raw: IO[bytes]) -> int:
    # A pipe has none.
    with contextlib.suppress(OSError):
        return raw.tell()
    return 0


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """The decompressed stream, and the file below it."""
    with io.BufferedReader(io.FileIO(path), 1 << 17) as raw:
        if raw.peek(2)[:2] != _GZIP:
            yield raw, raw
            return
        with gzip.GzipFile(fileobj=raw) as unzipped, io.BufferedReader(unzipped, 1 << 17) as stream:
            yield stream, raw


def decoded(field: str) -> tuple[str, bool]:
    """The text of bytes that came as one character each, and whether it is as it was written.

    Other encodings than UTF-8 are not guessed.
    """
    if field.isascii():
        return field, True
    raw = field.encode("latin-1")
    try:
        return raw.decode("utf-8"), True
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), False
