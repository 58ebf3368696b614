"""Statements known again by their text between the literals, without reading its tokens.

A program writes a statement with the same bytes around its literals each time. What the lexer makes of a
token rests on the bytes of that token, on the *kinds* of the tokens before it, and on the class of the byte
that follows: never on what is inside of a literal. So a text that has, in order, the same bytes between
literals of the same kinds has the same fingerprint, and comparing memory finds that out in a tenth of the
time, without the branches on each token that no processor can foretell. Where a literal ends, the lexer's own
functions say. Texts that differ in anything else (a comment, a space, a sign) are left to the lexer.

This topic has the Cython and the Python form.
"""

from array import array

import cython
from cython.cimports.godb_fast._kernels.lexer import Fingerprint, Lexer, _number, _quoted
from cython.cimports.godb_fast._kernels.xxh64 import xxh64

if cython.compiled:
    from cython.cimports.libc.string import memcmp

# Kinds of slots, as in the lexer.
INTEGER = cython.declare(cython.int, 0)
DECIMAL = cython.declare(cython.int, 1)
FLOAT = cython.declare(cython.int, 2)
STRING = cython.declare(cython.int, 3)
LIST = cython.declare(cython.int, 5)
#: What a skeleton's last piece is followed by.
END = cython.declare(cython.int, 7)
#: The lexer's cell for the letter of a literal's type.
FOUND_MARKER = cython.declare(cython.int, 15)
#: Slots (a list's elements have one each) beyond which a text is left to the lexer.
ROOM = cython.declare(cython.Py_ssize_t, 340)
#: Texts in a row that have a skeleton's signature and not its bytes, before it makes room.
PATIENCE = cython.declare(cython.int, 3)


@cython.final
@cython.cclass
class Skeleton:
    """The bytes of one statement between its literals. Immutable but for a count; shared by all threads.

    ``raw`` holds the pieces one after the other; ``steps`` three int32 a piece: its length, the kind of the
    slot behind it, and for a list the bits of its elements' kinds.
    """

    def __init__(self, found: Fingerprint, key, raw, steps):
        self.key = key
        self.hash = found.hash
        self.casing = found.casing
        self.tokens = found.tokens
        self.joins = found.joins
        self.nesting = found.nesting
        self.flags = found.flags
        self.raw = raw
        self.steps = array("i", steps).tobytes()
        self.count = len(steps) // 3
        self.missed = 0
        if cython.compiled:
            self.raw_at = self.raw
            self.steps_at = cython.cast(cython.p_int, cython.cast(cython.p_char, self.steps))
        else:
            self.raw_at = self.raw
            self.steps_at = memoryview(self.steps).cast("i")


def _pieces(found: Fingerprint):
    """Pieces and steps of a statement; None where its literals are not those that :meth:`_spans` reads."""
    data = found.sql.encode("utf-8")
    numbers = memoryview(found.packed).cast("i")
    slots = []
    for at in range(0, len(numbers), 3):
        start, end, kind = numbers[at], numbers[at + 1], numbers[at + 2] & 255
        bits = 0
        if kind == LIST:
            first = len(slots) - (numbers[at + 2] >> 8)
            for element in slots[first:]:
                bits |= 1 << element[2]
            if any(element[2] > STRING for element in slots[first:]):
                return None
            if b"/*" in data[start:end] or b"--" in data[start:end]:
                # A comment may be a hint, which counts.
                return None
            del slots[first:]
        slots.append((start, end, kind, bits))
    pieces = []
    steps = []
    last = 0
    for start, end, kind, bits in slots:
        first_byte = data[start]
        if kind == STRING:
            if first_byte != 39:
                return None
        elif kind != LIST and not (kind < STRING and 48 <= first_byte <= 57):
            # A sign stays in the fingerprint; parameters and keywords are no literals.
            return None
        pieces.append(data[last:start])
        steps.extend((start - last, kind, bits))
        last = end
    pieces.append(data[last:])
    steps.extend((len(data) - last, END, 0))
    return b"".join(pieces), steps


@cython.final
@cython.cclass
class Skeletons:
    """The skeletons of one dialect's statements, by a signature that literals do not change.

    Shared by all threads.

    Parameters
    ----------
    lexer : lexer.Lexer
    most : int
        Skeletons kept; beyond them all are forgotten, and learned anew.
    """

    def __init__(self, lexer: Lexer, most):
        self.lexer = lexer
        self.classes = lexer._classes
        self.duckdb = lexer._duckdb
        self.most = most
        self.known = {}
        if not cython.compiled:
            self.marks = [0] * 256
        for byte in range(256):
            # Digits, quotes and what separates the elements of a list do not count.
            if not (48 <= byte <= 57 or byte in (32, 39, 44) or 9 <= byte <= 13):
                raw = bytes([byte]) * 8
                self.marks[byte] = xxh64(raw, 8, 0)

    def find(self, sql):
        """The Fingerprint of a text, as ``Lexer.scan`` tells it; None if no skeleton is its own."""
        return self._find(sql)

    def learn(self, found: Fingerprint):
        """Know texts like this one, from what the lexer found in it."""
        self._learn(found, found.key)

    @cython.cfunc
    def _find(self, sql) -> Fingerprint:
        data: cython.p_uchar
        size: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t
        small: cython.int[1024]
        slots: cython.p_int
        skeleton: Skeleton
        found: Fingerprint
        if type(sql) is not str:
            return None
        if cython.compiled:
            data = cython.cast(
                cython.p_uchar,
                PyUnicode_AsUTF8AndSize(sql, cython.address(size)),  # noqa: F821
            )
            slots = small  # noqa: F821 - declared above
        else:
            data = sql.encode("utf-8") + bytes(8)
            size = len(data) - 8
            slots = [0] * 1024
        skeleton = self.known.get(self._signature(data, size))
        if skeleton is None:
            return None
        count = self._spans(skeleton, data, size, slots, ROOM)
        if count < 0:
            skeleton.missed += 1
            return None
        skeleton.missed = 0
        found = Fingerprint.__new__(Fingerprint)
        found.sql = sql
        found.key = skeleton.key
        found.hash = skeleton.hash
        found.casing = skeleton.casing
        found.tokens = skeleton.tokens
        found.joins = skeleton.joins
        found.nesting = skeleton.nesting
        found.flags = skeleton.flags
        found.error = 0
        found.error_at = 0
        found.dialect = self.lexer.dialect
        found.token_bytes = b""
        found._literals = None
        if cython.compiled:
            found.packed = cython.cast(cython.p_uchar, slots)[: 3 * count * cython.sizeof(cython.int)]
        else:
            found.packed = array("i", slots[: 3 * count]).tobytes()
        return found

    @cython.cfunc
    def _learn(self, found: Fingerprint, key: bytes):
        """``key`` equals the text's own: shared, it need not be kept once more."""
        data: bytes
        skeleton: Skeleton
        if type(found.sql) is not str or found.error != 0:
            return
        data = found.sql.encode("utf-8")
        signature = self._signature(data, len(data))
        skeleton = self.known.get(signature)
        if skeleton is not None and skeleton.missed < PATIENCE:
            return
        made = _pieces(found)
        if made is None:
            return
        if len(self.known) >= self.most:
            self.known.clear()
        self.known[signature] = Skeleton(found, key, made[0], made[1])

    @cython.cfunc
    @cython.exceptval(check=False)
    def _signature(self, data: cython.p_uchar, size: cython.Py_ssize_t) -> cython.ulonglong:
        """A sum over the bytes outside of strings: wherever they stand, so that literals may have any length.

        It only says where to look: which text it is, its bytes say.
        """
        total: cython.ulonglong = 0
        mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
        i: cython.Py_ssize_t = 0
        while i < size:
            if data[i] == 39:
                i += 1
                while i < size and data[i] != 39:
                    i += 1
            else:
                total += self.marks[data[i]]
            i += 1
        return total & mask

    @cython.cfunc
    @cython.exceptval(check=False)
    def _spans(
        self,
        skeleton: Skeleton,
        data: cython.p_uchar,
        size: cython.Py_ssize_t,
        slots: cython.p_int,
        room: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """How many slots a text has, with their places and kinds in ``slots``; -1: it is no such text."""
        cells: cython.int[16]
        steps: cython.p_int = skeleton.steps_at
        raw: cython.p_uchar = skeleton.raw_at
        step: cython.Py_ssize_t
        length: cython.Py_ssize_t
        past: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t
        k: cython.Py_ssize_t = 0
        first: cython.Py_ssize_t
        kind: cython.int
        bits: cython.int
        if not cython.compiled:
            cells = [0] * 16
        for step in range(skeleton.count):
            length = steps[3 * step]
            if at + length > size:
                return -1
            if not cython.compiled:
                if raw[past : past + length] != data[at : at + length]:
                    return -1
            elif memcmp(raw + past, data + at, length) != 0:
                return -1
            at += length
            past += length
            kind = steps[3 * step + 1]
            if kind == END:
                return k if at == size else -1
            start = at
            first = k
            bits = 0
            while True:
                if kind == LIST:
                    while data[at] == 32 or 9 <= data[at] <= 13:
                        at += 1
                slots[3 * k] = at
                if data[at] == 39:
                    slots[3 * k + 2] = STRING
                    at = _quoted(data, size, at + 1, 39, 0)
                    if at < 0:
                        return -1
                elif 48 <= data[at] <= 57:
                    at = _number(data, size, at, self.classes, self.duckdb, cells)
                    slots[3 * k + 2] = INTEGER
                    if cells[FOUND_MARKER] == 100:
                        slots[3 * k + 2] = DECIMAL
                    elif cells[FOUND_MARKER] == 102:
                        slots[3 * k + 2] = FLOAT
                else:
                    return -1
                slots[3 * k + 1] = at
                bits |= 1 << slots[3 * k + 2]
                k += 1
                if k >= room:
                    return -1
                if kind != LIST:
                    break
                while data[at] == 32 or 9 <= data[at] <= 13:
                    at += 1
                if data[at] != 44:
                    break
                at += 1
            if kind != LIST:
                if slots[3 * k - 1] != kind:
                    return -1
                continue
            if data[at] != 41 or bits != steps[3 * step + 2]:
                return -1
            slots[3 * k] = start
            slots[3 * k + 1] = at
            slots[3 * k + 2] = LIST | ((k - first) << 8)
            k += 1
            if k >= room:
                return -1
        return -1
