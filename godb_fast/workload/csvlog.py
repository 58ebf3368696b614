"""Records of CSV logs, which span lines, from files that may be torn anywhere.

A record ends with a line at whose end the number of double quotes is even. Where a torn record makes that
parity wrong, what follows does not look like a record: then its lines are sorted out one by one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Generator, Iterator
from typing import Final

#: A record of more bytes or lines is taken for torn; logged statements and plans are far below.
MAX_RECORD: Final = 4_000_000
MAX_RECORD_LINES: Final = 50_000

_FIELD: Final = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",]*))(,|$)')


class CsvRecords:
    """The records of a stream of lines.

    Parameters
    ----------
    begins : callable
        Whether a line looks like a record's first.
    valid : callable
        Whether fields look like a record's.
    wanted : tuple of bytes
        Records without any of these are passed over unread.
    idle : callable, optional
        Whether a record's first line says that nothing in it is of interest.
    """

    def __init__(
        self,
        begins: Callable[[bytes], object],
        valid: Callable[[list[str]], bool],
        wanted: tuple[bytes, ...],
        idle: Callable[[bytes], object] = lambda line: None,
    ) -> None:
        #: Records that could not be read.
        self.torn = 0
        self._begins = begins
        self._valid = valid
        self._wanted = wanted
        self._idle = idle

    def read(self, lines: Iterator[bytes]) -> Iterator[list[str]]:
        """Fields of each wanted record."""
        for line in lines:
            if line.count(b'"') % 2 == 0:
                yield from self._record(line)
                continue
            yield from self._long(line, lines)

    def _long(self, first: bytes, lines: Iterator[bytes]) -> Iterator[list[str]]:
        held = [first]
        while held:
            size = sum(map(len, held))
            for line in lines:
                held.append(line)
                size += len(line)
                if line.count(b'"') % 2:
                    fields = self._fields(b"".join(held))
                    if fields is not None:
                        if self._is_wanted(held):
                            yield fields
                        return
                    break
                if size > MAX_RECORD or len(held) > MAX_RECORD_LINES:
                    break
            else:
                # The end of the file: nothing will close what is open.
                held.append(b"")
            held = yield from self._sorted_out(held)

    def _sorted_out(self, held: list[bytes]) -> Generator[list[str], None, list[bytes]]:
        """What is whole in lines that are no record together; the lines of one at their end that goes on.

        Lines that go on begin none but the first, so none is looked at more than three times.
        """
        begin = 0
        for number in range(1, len(held) + 1):
            if number < len(held) and not self._begins(held[number]):
                continue
            piece, first = held[begin:number], begin == 0
            begin = number
            joined = b"".join(piece)
            if joined.count(b'"') % 2 == 0:
                yield from self._record(joined)
            elif number == len(held) and not first and piece[-1]:
                return piece
            else:
                self.torn += 1
        return []

    def _record(self, record: bytes) -> Iterator[list[str]]:
        for part in self._wanted:
            if part in record:
                break
        else:
            return
        if self._idle(record):
            return
        fields = self._fields(record)
        if fields is None:
            self.torn += 1
        else:
            yield fields

    def _is_wanted(self, held: list[bytes]) -> bool:
        # Nothing that is looked for spans lines.
        return any(part in line for line in held for part in self._wanted)

    def _fields(self, record: bytes) -> list[str] | None:
        found = split(record.rstrip(b"\r\n"))
        return found if found is not None and self._valid(found) else None


def split(record: bytes) -> list[str] | None:
    """Fields of one record, a character for each byte (see ``decoded``); None if its quotes do not fit."""
    text = record.decode("latin-1")
    if len(text) < csv.field_size_limit():
        try:
            return next(csv.reader((text,), strict=True), None)
        except csv.Error:
            return None
    # That limit is one of the process, and not ours to change.
    fields: list[str] = []
    position = 0
    while True:
        found = _FIELD.match(text, position)
        if found is None:
            return None
        fields.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        position = found.end()
        if not found[3]:
            return fields if position == len(text) else None
