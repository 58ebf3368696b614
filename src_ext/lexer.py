"""The SQL lexer: one pass over the UTF-8 bytes of a statement gives its fingerprint and its literals.

The *normalized text* is what all queries of one fingerprint share: unquoted words in lower case, comments
and white space folded, each literal replaced by a marker of its type (``?i`` integer, ``?d`` decimal, ``?f``
float, ``?s`` string, ``?p`` parameter, ``?l`` and two hexadecimal digits for a list of literals after IN,
the digits being the set of types in it). The 64-bit fingerprint is XXH64 (Collet) of that text, seeded by
the dialect, the same in every form of this file and on every platform.

Some literals stay in the text, because plans and proofs rest on them: integers in GROUP BY and ORDER BY,
everything in LIMIT, OFFSET, FETCH and SAMPLE, type parameters, INTERVAL literals, NULL, TRUE and FALSE, bit
and Unicode strings. The minus sign of a negative number stays as well (``-?i``), and also belongs to the
literal; only inside a list it is part of the literal alone.

This topic has the Cython and the Python form. Scratch memory is allocated by each call, so that one
:class:`Lexer` serves all threads.
"""

import re
import sys
from array import array

import cython

if cython.compiled:
    from cython.cimports.libc.stdlib import free, malloc
    from cython.cimports.libc.string import memcpy

#: Dialects, by the seed of their hashes.
DIALECTS = {"duckdb": 0, "postgres": 1}

BIG_ENDIAN = cython.declare(cython.int, 1 if sys.byteorder == "big" else 0)

# What goes wrong with a text (``Fingerprint.error``).
ERRORS = {
    1: "unterminated string literal",
    2: "unterminated quoted identifier",
    3: "unterminated comment",
    4: "unterminated dollar-quoted string",
    5: "NUL byte outside of a string literal",
    6: "invalid UTF-8",
}

# Kinds of slots, the low byte of a slot's third integer; for a list the rest counts its elements.
SLOT_KINDS = ("integer", "decimal", "decimal", "string", "parameter", "list", "keyword")
INTEGER = cython.declare(cython.int, 0)
DECIMAL = cython.declare(cython.int, 1)
FLOAT = cython.declare(cython.int, 2)
STRING = cython.declare(cython.int, 3)
PARAMETER = cython.declare(cython.int, 4)
LIST = cython.declare(cython.int, 5)
KEYWORD = cython.declare(cython.int, 6)

# Kinds of tokens (``Lexer.tokens``); the fourth integer of a token is its word class or slot number.
TOKEN_KINDS = ("word", "quoted", "literal", "operator", "punctuation", "slot")
WORD = cython.declare(cython.int, 0)
QUOTED = cython.declare(cython.int, 1)
VERBATIM = cython.declare(cython.int, 2)
OPERATOR = cython.declare(cython.int, 3)
PUNCTUATION = cython.declare(cython.int, 4)
SLOT = cython.declare(cython.int, 5)

# Classes of words. Up to LAST_OPERAND a word can end an operand, so that a minus after it subtracts.
IDENTIFIER = cython.declare(cython.int, 0)
TYPE = cython.declare(cython.int, 1)
CONSTANT = cython.declare(cython.int, 2)
END = cython.declare(cython.int, 3)
LAST_OPERAND = cython.declare(cython.int, 3)
OTHER = cython.declare(cython.int, 4)
SELECT = cython.declare(cython.int, 5)
FROM = cython.declare(cython.int, 6)
CLEAR = cython.declare(cython.int, 7)
BY = cython.declare(cython.int, 8)
KEEP = cython.declare(cython.int, 9)
JOIN = cython.declare(cython.int, 10)
IN = cython.declare(cython.int, 11)
INTERVAL = cython.declare(cython.int, 12)
DISTINCT = cython.declare(cython.int, 13)
CASE = cython.declare(cython.int, 14)
AS = cython.declare(cython.int, 15)
ON = cython.declare(cython.int, 16)
NOT = cython.declare(cython.int, 17)

WORDS = {
    TYPE: "decimal numeric dec varchar char character bpchar nchar nvarchar bit varbit varying "
    "timestamp timestamptz time timetz float text string",
    CONSTANT: "null true false",
    END: "end",
    OTHER: "group order and or like ilike similar between is when then else over partition asc desc nulls "
    "all any some exists cross left right full inner outer natural semi anti asof positional lateral "
    "recursive with filter cast try_cast escape glob collate rows range groups union intersect except "
    "minus using both leading trailing to isnull notnull materialized within ordinality",
    SELECT: "select",
    FROM: "from",
    CLEAR: "where having qualify window values set for returning pivot unpivot",
    BY: "by",
    KEEP: "limit offset fetch sample tablesample",
    JOIN: "join",
    IN: "in",
    INTERVAL: "interval",
    DISTINCT: "distinct",
    CASE: "case",
    AS: "as",
    ON: "on",
    NOT: "not",
}

#: Words that cannot be a column's name, so that their spelling is in no output column's name.
RESERVED = frozenset(
    "all and any as asc case cast collate cross desc distinct else end except false for from full group "
    "having ilike in inner intersect is isnull join lateral left like limit natural not notnull null offset "
    "on or order outer qualify right select similar some then to true union using when where window "
    "with".split()
)

# Bits of ``Fingerprint.flags``.
MULTIPLE = cython.declare(cython.int, 1)
PARAMETERS = cython.declare(cython.int, 2)
HINTED = cython.declare(cython.int, 4)

# Classes of bytes.
SPACE_BYTE = cython.declare(cython.int, 1)
WORD_START = cython.declare(cython.int, 2)
WORD_PART = cython.declare(cython.int, 4)
DIGIT = cython.declare(cython.int, 8)
OPERATOR_BYTE = cython.declare(cython.int, 16)
#: An operator that has one of these may end in + or -.
SPECIAL_BYTE = cython.declare(cython.int, 32)
PUNCTUATION_BYTE = cython.declare(cython.int, 64)
OPENING_BYTE = cython.declare(cython.int, 128)

# States of a nesting level, which decide whether literals stay in the text.
IN_BY = cython.declare(cython.int, 1)
KEPT = cython.declare(cython.int, 2)
IN_FROM = cython.declare(cython.int, 4)

#: Levels whose states are kept apart; deeper ones share the last (they are past any limit anyway).
LEVELS = cython.declare(cython.int, 256)

_WORD = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*")
_MASK = 0xFFFFFFFFFFFFFFFF


def _byte_classes(dialect):
    letters = "abcdefghijklmnopqrstuvwxyz"
    table = bytearray(256)
    for characters, bits in (
        (" \t\n\r\f\v", SPACE_BYTE),
        (letters + letters.upper() + "_", WORD_START | WORD_PART),
        ("0123456789", DIGIT | WORD_PART),
        ("$", WORD_PART),
        ("+-*/<>=~!@#%^&|`", OPERATOR_BYTE),
        ("~!@#%^&|`?", SPECIAL_BYTE),
        (".,()[]{}", PUNCTUATION_BYTE),
        ("([{", OPENING_BYTE),
        ("?" if dialect == "postgres" else "", OPERATOR_BYTE),
    ):
        for character in characters:
            table[ord(character)] |= bits
    for byte in range(128, 256):
        table[byte] |= WORD_START | WORD_PART
    return bytes(table)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load(data: cython.p_uchar, at: cython.Py_ssize_t, count: cython.int) -> cython.ulonglong:
    """Little-endian integer of ``count`` bytes."""
    value: cython.ulonglong = 0
    byte: cython.ulonglong
    i: cython.int
    if not cython.compiled:
        return int.from_bytes(data[at : at + count], "little")
    for i in range(count - 1, -1, -1):
        byte = data[at + i]
        value = (value << 8) | byte
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load8(data: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Little-endian integer of eight bytes."""
    value: cython.ulonglong = 0
    if not cython.compiled:
        return int.from_bytes(data[at : at + 8], "little")
    if BIG_ENDIAN:
        return _load(data, at, 8)
    memcpy(cython.address(value), data + at, 8)
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop_keywords(
    slots: cython.p_int, first: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Remove the NULLs and booleans of what turned out to be no list of literals; the new count."""
    kept: cython.Py_ssize_t = first
    i: cython.Py_ssize_t
    for i in range(first, count):
        if slots[3 * i + 2] != KEYWORD:
            slots[3 * kept] = slots[3 * i]
            slots[3 * kept + 1] = slots[3 * i + 1]
            slots[3 * kept + 2] = slots[3 * i + 2]
            kept += 1
    return kept


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _round(lane: cython.ulonglong, word: cython.ulonglong) -> cython.ulonglong:
    mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
    p1: cython.ulonglong = 0x9E3779B185EBCA87
    p2: cython.ulonglong = 0xC2B2AE3D27D4EB4F
    lane = (lane + word * p2) & mask
    lane = ((lane << 31) | (lane >> 33)) & mask
    return (lane * p1) & mask


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _xxh64(data: cython.p_uchar, size: cython.Py_ssize_t, seed: cython.ulonglong) -> cython.ulonglong:
    """XXH64 of ``size`` bytes."""
    mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
    p1: cython.ulonglong = 0x9E3779B185EBCA87
    p2: cython.ulonglong = 0xC2B2AE3D27D4EB4F
    p3: cython.ulonglong = 0x165667B19E3779F9
    p4: cython.ulonglong = 0x85EBCA77C2B2AE63
    p5: cython.ulonglong = 0x27D4EB2F165667C5
    zero: cython.ulonglong = 0
    length: cython.ulonglong = size
    at: cython.Py_ssize_t = 0
    h: cython.ulonglong
    a: cython.ulonglong
    b: cython.ulonglong
    c: cython.ulonglong
    d: cython.ulonglong
    if size >= 32:
        a = (seed + p1 + p2) & mask
        b = (seed + p2) & mask
        c = seed
        d = (seed - p1) & mask
        while at + 32 <= size:
            a = _round(a, _load8(data, at))
            b = _round(b, _load8(data, at + 8))
            c = _round(c, _load8(data, at + 16))
            d = _round(d, _load8(data, at + 24))
            at += 32
        h = ((a << 1) | (a >> 63)) & mask
        h = (h + ((b << 7) | (b >> 57))) & mask
        h = (h + ((c << 12) | (c >> 52))) & mask
        h = (h + ((d << 18) | (d >> 46))) & mask
        h = ((h ^ _round(zero, a)) * p1 + p4) & mask
        h = ((h ^ _round(zero, b)) * p1 + p4) & mask
        h = ((h ^ _round(zero, c)) * p1 + p4) & mask
        h = ((h ^ _round(zero, d)) * p1 + p4) & mask
    else:
        h = (seed + p5) & mask
    h = (h + length) & mask
    while at + 8 <= size:
        h = h ^ _round(zero, _load8(data, at))
        h = (((h << 27) | (h >> 37)) & mask) * p1 + p4
        h = h & mask
        at += 8
    if at + 4 <= size:
        h = h ^ ((_load(data, at, 4) * p1) & mask)
        h = (((h << 23) | (h >> 41)) & mask) * p2 + p3
        h = h & mask
        at += 4
    while at < size:
        h = h ^ ((_load(data, at, 1) * p5) & mask)
        h = (((h << 11) | (h >> 53)) & mask) * p1
        h = h & mask
        at += 1
    h = h ^ (h >> 33)
    h = (h * p2) & mask
    h = h ^ (h >> 29)
    h = (h * p3) & mask
    return h ^ (h >> 32)


@cython.final
@cython.cclass
class Fingerprint:
    """What one call of the lexer found; texts and literals become Python objects when first asked for.

    Attributes
    ----------
    hash : int
        Signed 64-bit fingerprint.
    key : bytes
        The normalized text in UTF-8.
    casing : int
        Hash of the spelling of identifiers with capital letters, 0 without any (DuckDB puts the spelling
        into the names of output columns; always 0 for PostgreSQL).
    sql : str or bytes
        The statement itself.
    tokens, joins, nesting : int
        Counts; a list of literals is one token, nesting counts brackets, CASE and chains of prefix
        operators.
    flags : int
        Bits MULTIPLE, PARAMETERS, HINTED.
    error, error_at : int
        A key of ERRORS and the byte where it begins; 0 if the text is well formed.
    """

    hash = cython.declare(cython.longlong, visibility="readonly")
    casing = cython.declare(cython.longlong, visibility="readonly")
    key = cython.declare(bytes, visibility="readonly")
    sql = cython.declare(object, visibility="readonly")
    tokens = cython.declare(cython.int, visibility="readonly")
    joins = cython.declare(cython.int, visibility="readonly")
    nesting = cython.declare(cython.int, visibility="readonly")
    flags = cython.declare(cython.int, visibility="readonly")
    error = cython.declare(cython.int, visibility="readonly")
    error_at = cython.declare(cython.Py_ssize_t, visibility="readonly")
    dialect = cython.declare(object, visibility="readonly")
    packed = cython.declare(bytes, visibility="readonly")
    token_bytes = cython.declare(bytes, visibility="readonly")
    _literals = cython.declare(object)

    @property
    def text(self):
        """The normalized text; a comment at its end tells apart spellings (see ``casing``)."""
        text = self.key.decode("utf-8", "replace")
        return f"{text} /* spelling {self.casing & _MASK:x} */" if self.casing else text

    @property
    def literals(self):
        """Source text of each slot; a tuple of source texts for a list.

        Parameters without a name get their number: the second ``?`` of the text is ``$2``.
        """
        if self._literals is None:
            self._literals = tuple(self._read()[0])
        return self._literals

    @property
    def slot_kinds(self):
        """Kind of each slot, as in ``core.LiteralSlot.kind``."""
        return tuple(self._read()[1])

    def _read(self):
        data = self.sql if isinstance(self.sql, bytes) else self.sql.encode("utf-8")
        numbers = memoryview(self.packed).cast("i")
        texts = []
        kinds = []
        parameters = 0
        for at in range(0, len(numbers), 3):
            kind = numbers[at + 2] & 255
            if kind == LIST:
                count = numbers[at + 2] >> 8
                elements = tuple(texts[len(texts) - count :])
                del texts[len(texts) - count :], kinds[len(kinds) - count :]
                texts.append(elements)
            else:
                text = data[numbers[at] : numbers[at + 1]].decode("utf-8")
                if kind == PARAMETER and text in ("?", "%s"):
                    parameters += 1
                    text = f"${parameters}"
                texts.append(text)
            kinds.append(SLOT_KINDS[kind])
        return texts, kinds

    def __repr__(self):
        return f"<Fingerprint {self.hash & _MASK:016x} {self.text[:60]!r}>"


@cython.final
@cython.cclass
class Lexer:
    """The lexer of one dialect; immutable, shared by all threads."""

    dialect = cython.declare(object, visibility="readonly")
    _seed: cython.ulonglong
    _duckdb: cython.int
    _classes: bytes
    _fold: bytes
    _keys: cython.ulonglong[1024]
    _sizes: cython.uchar[1024]
    _lasts: cython.uchar[1024]
    _kinds: cython.uchar[1024]
    _reserved: cython.uchar[1024]

    def __init__(self, dialect):
        i: cython.int
        self.dialect = dialect
        self._seed = DIALECTS[dialect]
        self._duckdb = 1 if dialect == "duckdb" else 0
        self._classes = _byte_classes(dialect)
        self._fold = bytes(
            folded if self._classes[byte] & WORD_PART else 0
            for byte, folded in enumerate(bytes(range(256)).lower())
        )
        if not cython.compiled:
            self._keys = [0] * 1024
            self._sizes = bytearray(1024)
            self._lasts = bytearray(1024)
            self._kinds = bytearray(1024)
            self._reserved = bytearray(1024)
        for i in range(1024):
            self._keys[i] = 0
        for kind, words in WORDS.items():
            for word in words.split():
                raw = word.encode()
                key = int.from_bytes(raw[:8], "little")
                i = ((key * 0x9E3779B97F4A7C15) & _MASK) >> 54
                while self._keys[i]:
                    i = (i + 1) & 1023
                self._keys[i] = key
                self._sizes[i] = len(raw)
                self._lasts[i] = raw[len(raw) - 1]
                self._kinds[i] = kind
                self._reserved[i] = 1 if word in RESERVED else 0

    def scan(self, sql):
        """Fingerprint of a statement, given as str or as UTF-8 bytes."""
        return self._run(sql, False)

    def tokens(self, sql):
        """The same, with ``token_bytes``: four int32 a token (start, end, kind, class or slot)."""
        return self._run(sql, True)

    @cython.cfunc
    def _run(self, sql, wanted: cython.bint):
        found: Fingerprint = Fingerprint.__new__(Fingerprint)
        data: cython.p_uchar
        size: cython.Py_ssize_t = 0
        out: cython.p_uchar
        slots: cython.p_int
        rows: cython.p_int
        rows_at: cython.Py_ssize_t
        out_at: cython.Py_ssize_t
        found.dialect = self.dialect
        found.sql = sql
        found.packed = b""
        found.key = b""
        found.token_bytes = b""
        found._literals = None
        if cython.compiled:
            if isinstance(sql, bytes):
                data = cython.cast(cython.p_uchar, cython.cast(bytes, sql))
                size = len(cython.cast(bytes, sql))
            else:
                # Declared in lexer.pxd; for ASCII texts this is the str's own memory.
                data = cython.cast(
                    cython.p_uchar,
                    PyUnicode_AsUTF8AndSize(sql, cython.address(size)),  # noqa: F821
                )
            # Bounds: a byte of input yields at most four bytes of text ("?" gives " ?p"), at most five
            # quarters of a slot ("?" again, and the lists around them) and at most one token.
            rows_at = (size + size // 4 + 4) * 3
            out_at = rows_at + ((size + 4) * 4 if wanted else 0)
            slots = cython.cast(cython.p_int, malloc(out_at * cython.sizeof(cython.int) + 4 * size + 64))
            if slots == cython.NULL:
                raise MemoryError
            rows = slots + rows_at if wanted else cython.NULL
            out = cython.cast(cython.p_uchar, slots + out_at)
        else:
            data = (sql if isinstance(sql, bytes) else sql.encode("utf-8")) + bytes(8)
            size = len(data) - 8
            out = bytearray(4 * size + 64)
            slots = [0] * ((size + size // 4 + 4) * 3)
            rows = [0] * ((size + 4) * 4) if wanted else None
        try:
            self._scan(found, data, size, out, slots, rows)
        finally:
            if cython.compiled:
                free(slots)
        return found

    @cython.cfunc
    @cython.exceptval(check=False)
    def _scan(
        self,
        found: Fingerprint,
        data: cython.p_uchar,
        size: cython.Py_ssize_t,
        out: cython.p_uchar,
        slots: cython.p_int,
        rows: cython.p_int,
    ) -> cython.int:
        """One pass; fills ``found``."""
        classes: cython.p_uchar = self._classes
        fold: cython.p_uchar = self._fold
        state: cython.uchar[256]
        multiplier: cython.ulonglong = 0x9E3779B97F4A7C15
        mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
        word_part: cython.int = WORD_PART
        key: cython.ulonglong = 0
        casing: cython.ulonglong = 0
        wide: cython.ulonglong = 0
        low7: cython.ulonglong = 0
        upper: cython.ulonglong = 0
        lower: cython.ulonglong = 0
        stop: cython.ulonglong = 0
        ones: cython.ulonglong = 0x0101010101010101
        highs: cython.ulonglong = 0x8080808080808080
        sevens: cython.ulonglong = 0x7F7F7F7F7F7F7F7F
        # Added to seven-bit bytes, these set the high bit from a letter or digit on, or past it.
        from_a_upper: cython.ulonglong = 0x3F3F3F3F3F3F3F3F
        past_z_upper: cython.ulonglong = 0x2525252525252525
        from_a: cython.ulonglong = 0x1F1F1F1F1F1F1F1F
        past_z: cython.ulonglong = 0x0505050505050505
        from_0: cython.ulonglong = 0x5050505050505050
        past_9: cython.ulonglong = 0x4646464646464646
        blanks: cython.ulonglong = 0x2020202020202020
        underscores: cython.ulonglong = 0x5F5F5F5F5F5F5F5F
        dollars: cython.ulonglong = 0x2424242424242424
        prime: cython.ulonglong = 0x100000001B3
        duckdb: cython.int = self._duckdb
        i: cython.Py_ssize_t = 0
        j: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = 0
        k: cython.Py_ssize_t = 0
        t: cython.Py_ssize_t = 0
        at_out: cython.Py_ssize_t = 0
        c: cython.int = 0
        d: cython.int = 0
        b: cython.int = 0
        capital: cython.int = 0
        kind: cython.int = 0
        marker: cython.int = 0
        at: cython.int = 0
        depth: cython.int = 0
        level: cython.int = 0
        cases: cython.int = 0
        prefixes: cython.int = 0
        nesting: cython.int = 0
        joins: cython.int = 0
        flags: cython.int = 0
        error: cython.int = 0
        pending: cython.int = 0
        # What came before: 0 nothing that ends an operand, 1 an operand's end.
        operand: cython.int = 0
        # Class of the last token if it was a word, else -1; and of the one before it.
        last: cython.int = -1
        before: cython.int = -1
        # 1 after "::", so that the parameters of the type that follows stay.
        casting: cython.int = 0
        token: cython.int = 0
        extra: cython.int = 0
        glued: cython.int = 1
        signed_at: cython.Py_ssize_t = -1
        # A list of literals after IN that is being read: where it began, whether a literal may follow.
        listing: cython.int = 0
        list_out: cython.Py_ssize_t = 0
        list_slot: cython.Py_ssize_t = 0
        list_row: cython.Py_ssize_t = 0
        list_start: cython.Py_ssize_t = 0
        list_kinds: cython.int = 0
        list_count: cython.int = 0
        list_wants: cython.int = 0
        if not cython.compiled:
            state = bytearray(256)
        state[0] = 0

        while True:
            # White space and comments.
            while i < size:
                c = data[i]
                if classes[c] & SPACE_BYTE:
                    i += 1
                elif c == 45 and i + 1 < size and data[i + 1] == 45:
                    i += 2
                    while i < size and data[i] != 10 and data[i] != 13:
                        i += 1
                elif c == 47 and i + 1 < size and data[i + 1] == 42:
                    start = i
                    if i + 2 < size and data[i + 2] == 43:
                        flags |= HINTED
                    i += 2
                    d = 1
                    while i < size and d > 0:
                        if data[i] == 42 and i + 1 < size and data[i + 1] == 47:
                            d -= 1
                            i += 2
                        elif data[i] == 47 and i + 1 < size and data[i + 1] == 42:
                            d += 1
                            i += 2
                        else:
                            i += 1
                    if d > 0:
                        error = 3
                        break
                else:
                    break
            if error != 0 or i >= size:
                break
            start = i
            b = classes[c]
            if c == 59:
                # Semicolons at the end do not count.
                pending = 1
                i += 1
                operand = 0
                last = -1
                casting = 0
                continue
            if pending != 0:
                flags |= MULTIPLE
                out[n] = 59
                n += 1
                pending = 0
                depth = 0
                state[0] = 0
                if listing != 0:
                    listing = 0
                    k = _drop_keywords(slots, list_slot, k)
            level = depth if depth < LEVELS else LEVELS - 1
            marker = 0

            # Which token is it? Sets ``token``, ``i`` (its end), and for literals ``marker``.
            if b & WORD_START:
                # Written at once, behind the space that will precede it.
                at_out = n + 1 - glued
                if not cython.compiled:
                    i = _WORD.match(data, start, size).end()
                    folded = data[start:i].lower()
                    out[at_out : at_out + i - start] = folded
                    capital = 0 if folded == data[start:i] else 32
                    key = int.from_bytes(folded[:8], "little")
                    j = i - start
                else:
                    # Eight bytes at a time: lower case, then the first byte that is no part of a word.
                    capital = 0
                    key = 0
                    while i + 8 <= size and BIG_ENDIAN == 0:
                        wide = _load8(data, i)
                        low7 = wide & sevens
                        upper = (low7 + from_a_upper) & ~(low7 + past_z_upper) & ~wide & highs
                        lower = wide | (upper >> 2)
                        stop = (
                            (((low7 | blanks) + from_a) & ~((low7 | blanks) + past_z))
                            | ((low7 + from_0) & ~(low7 + past_9))
                            | ~((low7 ^ underscores) + sevens)
                            | ~((low7 ^ dollars) + sevens)
                            | wide
                        )
                        stop = ~stop & highs
                        memcpy(out + at_out + (i - start), cython.address(lower), 8)
                        if stop == 0:
                            if i == start:
                                key = lower
                            if upper != 0:
                                capital = 32
                            i += 8
                            continue
                        stop = stop & (0 - stop)
                        upper = upper & (stop - 1)
                        if upper != 0:
                            capital = 32
                        stop = (stop >> 7) - 1
                        if i == start:
                            key = lower & stop
                        i += ((stop & ones) * ones) >> 56
                        break
                    else:
                        # The last bytes of the text.
                        while i < size:
                            c = data[i]
                            d = fold[c]
                            if d == 0:
                                break
                            out[at_out + (i - start)] = d
                            capital |= c ^ d
                            if i - start < 8:
                                wide = d
                                key |= wide << (8 * (i - start))
                            i += 1
                    j = i - start
                c = data[i] if i < size else 0
                if c == 39 and j <= 2 and (key == 101 or key == 98 or key == 120 or key == 110):
                    # E'…' with escapes; B'…', X'…' and N'…' stay in the text.
                    token = VERBATIM
                    if key == 101:
                        marker = 115
                    i += 1
                    error = 1
                    while i < size:
                        c = data[i]
                        i += 1
                        if c == 92 and key == 101:
                            i += 1
                        elif c == 39:
                            if i < size and data[i] == 39:
                                i += 1
                            else:
                                error = 0
                                break
                    if error != 0 or i > size:
                        error = 1
                        break
                elif (
                    key == 117
                    and j == 1
                    and c == 38
                    and i + 1 < size
                    and (data[i + 1] == 39 or data[i + 1] == 34)
                ):
                    # U&'…' and U&"…" stay in the text.
                    d = data[i + 1]
                    token = VERBATIM if d == 39 else QUOTED
                    i += 2
                    error = 1 if d == 39 else 2
                    while i < size:
                        c = data[i]
                        i += 1
                        if c == d:
                            if i < size and data[i] == d:
                                i += 1
                            else:
                                error = 0
                                break
                    if error != 0:
                        break
                else:
                    token = WORD
                    extra = IDENTIFIER
                    at = ((key * multiplier) & mask) >> 54
                    while self._keys[at] != 0:
                        if (
                            self._keys[at] == key
                            and self._sizes[at] == j
                            and (j <= 8 or self._lasts[at] == fold[data[i - 1]])
                        ):
                            extra = self._kinds[at]
                            break
                        at = (at + 1) & 1023
                    if (
                        capital != 0
                        and duckdb != 0
                        and c != 40
                        and not (self._keys[at] != 0 and self._reserved[at])
                        and not (extra == BY and last == OTHER)
                    ):
                        # A function's name is no part of a column's name as it is spelled.
                        for at_out in range(start, i):
                            wide = data[at_out]
                            casing = ((casing ^ wide) * prime) & mask
                        casing = ((casing ^ 32) * prime) & mask
                    if listing != 0:
                        if list_wants != 0 and extra == CONSTANT:
                            list_wants = 0
                            list_kinds |= 16 if data[start] == 110 or data[start] == 78 else 32
                            slots[3 * k] = start
                            slots[3 * k + 1] = i
                            slots[3 * k + 2] = KEYWORD
                            k += 1
                        else:
                            listing = 0
                            k = _drop_keywords(slots, list_slot, k)
                    if glued == 0:
                        out[n] = 32
                    n += 1 - glued + j
                    glued = 0
                    if rows != cython.NULL:
                        rows[4 * t] = start
                        rows[4 * t + 1] = i
                        rows[4 * t + 2] = WORD
                        rows[4 * t + 3] = extra
                    t += 1
                    casting = 2 if casting == 1 or (last == AS and extra <= TYPE) else 0
                    before = last
                    last = extra
                    signed_at = -1
                    if extra <= LAST_OPERAND:
                        operand = 1
                        prefixes = 0
                        if extra == END and cases > 0:
                            cases -= 1
                    else:
                        operand = 0
                        if extra == NOT:
                            prefixes += 1
                        else:
                            prefixes = 0
                            if extra == SELECT or extra == CLEAR:
                                state[level] = 0
                            elif extra == FROM:
                                if before != DISTINCT:
                                    state[level] = IN_FROM
                            elif extra == BY:
                                state[level] = IN_BY
                            elif extra == KEEP:
                                state[level] = KEPT
                            elif extra == JOIN:
                                joins += 1
                            elif extra == CASE:
                                cases += 1
                        if depth + cases + prefixes > nesting:
                            nesting = depth + cases + prefixes
                    continue
            elif (b & PUNCTUATION_BYTE) and not (c == 46 and i + 1 < size and (classes[data[i + 1]] & DIGIT)):
                i += 1
                if listing != 0:
                    if list_wants == 0 and c == 44:
                        list_wants = 1
                    elif list_wants == 0 and c == 41:
                        # The list is complete: one slot takes the place of its elements.
                        n = list_out
                        t = list_row
                        out[n] = 63
                        out[n + 1] = 108
                        out[n + 2] = 48 + (list_kinds >> 4)
                        d = list_kinds & 15
                        out[n + 3] = 48 + d if d < 10 else 87 + d
                        n += 4
                        list_count = k - list_slot
                        slots[3 * k] = list_start
                        slots[3 * k + 1] = start
                        slots[3 * k + 2] = LIST | (list_count << 8)
                        k += 1
                        if rows != cython.NULL:
                            rows[4 * t] = list_start
                            rows[4 * t + 1] = start
                            rows[4 * t + 2] = SLOT
                            rows[4 * t + 3] = -1
                        t += 1
                        listing = 0
                    else:
                        listing = 0
                        k = _drop_keywords(slots, list_slot, k)
                # No space before a comma, a closing bracket, a dot or the parenthesis of a call.
                if (b & OPENING_BYTE) and last != IDENTIFIER:
                    out[n] = 32
                    n += 1 - glued
                out[n] = c
                n += 1
                glued = 0
                if rows != cython.NULL:
                    rows[4 * t] = start
                    rows[4 * t + 1] = i
                    rows[4 * t + 2] = PUNCTUATION
                    rows[4 * t + 3] = -1
                t += 1
                operand = 0
                if c == 46:
                    glued = 1
                    last = -1
                elif c == 44:
                    if state[level] & IN_FROM:
                        joins += 1
                    last = -1
                elif b & OPENING_BYTE:
                    d = state[level] & (IN_BY | KEPT)
                    if last == TYPE or last == INTERVAL or (casting == 2 and last == IDENTIFIER):
                        d |= KEPT
                    elif last == ON and before == DISTINCT:
                        d |= IN_BY
                    depth += 1
                    if depth + cases + prefixes > nesting:
                        nesting = depth + cases + prefixes
                    level = depth if depth < LEVELS else LEVELS - 1
                    state[level] = d
                    glued = 1
                    if c == 40 and last == IN:
                        listing = 1
                        list_wants = 1
                        list_out = n
                        list_slot = k
                        list_row = t
                        list_start = i
                        list_kinds = 0
                    last = -2 if c == 91 else -1
                else:
                    if depth > 0:
                        depth -= 1
                    operand = 1
                    last = -1
                casting = 0
                prefixes = 0
                signed_at = -1
                continue
            elif (b & DIGIT) or (c == 46 and i + 1 < size and (classes[data[i + 1]] & DIGIT)):
                token = VERBATIM
                marker = 105
                if (
                    c == 48
                    and duckdb == 0
                    and i + 1 < size
                    and (fold[data[i + 1]] == 120 or fold[data[i + 1]] == 111 or fold[data[i + 1]] == 98)
                ):
                    i += 2
                    while i < size and (classes[data[i]] & word_part):
                        i += 1
                else:
                    while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
                        i += 1
                    if i < size and data[i] == 46 and not (i + 1 < size and data[i + 1] == 46):
                        marker = 100
                        i += 1
                        while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
                            i += 1
                    if i < size and (data[i] == 101 or data[i] == 69):
                        j = i + 1
                        if j < size and (data[j] == 43 or data[j] == 45):
                            j += 1
                        if j < size and (classes[data[j]] & DIGIT):
                            marker = 102
                            i = j
                            while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
                                i += 1
            elif c == 39:
                token = VERBATIM
                marker = 115
                i += 1
                error = 1
                while i < size:
                    c = data[i]
                    i += 1
                    if c == 39:
                        if i < size and data[i] == 39:
                            i += 1
                        else:
                            error = 0
                            break
                if error != 0:
                    break
            elif c == 34:
                token = QUOTED
                i += 1
                error = 2
                while i < size:
                    c = data[i]
                    i += 1
                    if c == 34:
                        if i < size and data[i] == 34:
                            i += 1
                        else:
                            error = 0
                            break
                if error != 0:
                    break
            elif c == 36:
                i += 1
                token = OPERATOR
                if i < size and (classes[data[i]] & DIGIT):
                    while i < size and (classes[data[i]] & DIGIT):
                        i += 1
                    token = VERBATIM
                    marker = 112
                else:
                    while i < size and data[i] != 36 and (classes[data[i]] & word_part):
                        i += 1
                    if i < size and data[i] == 36:
                        # $tag$ … $tag$
                        i += 1
                        token = VERBATIM
                        marker = 115
                        j = i - start
                        error = 4
                        while i + j <= size:
                            if data[i] == 36:
                                d = 0
                                while d < j and data[i + d] == data[start + d]:
                                    d += 1
                                if d == j:
                                    i += j
                                    error = 0
                                    break
                            i += 1
                        if error != 0:
                            break
                    elif i > start + 1:
                        token = VERBATIM
                        marker = 112
            elif c == 63 and not (duckdb == 0 and operand != 0):
                token = VERBATIM
                marker = 112
                i += 1
            elif (
                c == 37
                and operand == 0
                and i + 1 < size
                and data[i + 1] == 115
                and not (i + 2 < size and (classes[data[i + 2]] & word_part))
            ):
                token = VERBATIM
                marker = 112
                i += 2
            elif (
                c == 37
                and operand == 0
                and i + 2 < size
                and data[i + 1] == 40
                and (classes[data[i + 2]] & WORD_START)
            ):
                # %(name)s
                j = i + 2
                while j < size and (classes[data[j]] & word_part):
                    j += 1
                if j + 1 < size and data[j] == 41 and data[j + 1] == 115:
                    token = VERBATIM
                    marker = 112
                    i = j + 2
                else:
                    token = OPERATOR
                    i += 1
            elif c == 58:
                token = OPERATOR
                i += 1
                if i < size and data[i] == 58:
                    i += 1
                elif i < size and data[i] == 61:
                    i += 1
                elif operand == 0 and last != -2 and i < size and (classes[data[i]] & WORD_START):
                    while i < size and (classes[data[i]] & word_part):
                        i += 1
                    token = VERBATIM
                    marker = 112
            elif b & OPERATOR_BYTE:
                token = OPERATOR
                d = 0
                while i < size:
                    c = data[i]
                    if not (classes[c] & OPERATOR_BYTE):
                        break
                    if (
                        i > start
                        and i + 1 < size
                        and ((c == 45 and data[i + 1] == 45) or (c == 47 and data[i + 1] == 42))
                    ):
                        break
                    d |= classes[c]
                    i += 1
                if not (d & SPECIAL_BYTE):
                    while i > start + 1 and (data[i - 1] == 43 or data[i - 1] == 45):
                        i -= 1
                if i == start + 1:
                    c = data[start]
                    if (
                        c == 45
                        and operand == 0
                        and i < size
                        and (
                            (classes[data[i]] & DIGIT)
                            or (data[i] == 46 and i + 1 < size and (classes[data[i + 1]] & DIGIT))
                        )
                    ):
                        # The sign of a number: it stays in the text, and begins the literal.
                        signed_at = start
                    elif c == 35 and i < size and (classes[data[i]] & DIGIT):
                        # DuckDB's positional reference: #1.
                        while i < size and (classes[data[i]] & DIGIT):
                            i += 1
                        token = VERBATIM
            elif c == 0:
                error = 5
                break
            else:
                # A control character, a backslash: no engine's token, kept for the engine to refuse.
                token = OPERATOR
                i += 1

            # Whether a literal becomes a slot.
            if marker != 0:
                if marker != 112 and (
                    last == INTERVAL or (state[level] & KEPT) or (marker == 105 and (state[level] & IN_BY))
                ):
                    marker = 0
                else:
                    token = SLOT

            if listing != 0:
                if list_wants != 0 and token == SLOT:
                    list_wants = 0
                    if marker == 105:
                        list_kinds |= 1
                    elif marker == 100:
                        list_kinds |= 2
                    elif marker == 102:
                        list_kinds |= 4
                    elif marker == 115:
                        list_kinds |= 8
                    else:
                        list_kinds |= 64
                elif not (list_wants != 0 and token == OPERATOR and signed_at == start):
                    listing = 0
                    k = _drop_keywords(slots, list_slot, k)

            if token == SLOT:
                if signed_at >= 0:
                    # The sign's own token is already in the text; both are one slot.
                    t -= 1
                    start = signed_at
                else:
                    out[n] = 32
                    n += 1 - glued
                if marker == 105:
                    kind = INTEGER
                elif marker == 100:
                    kind = DECIMAL
                elif marker == 102:
                    kind = FLOAT
                elif marker == 115:
                    kind = STRING
                else:
                    kind = PARAMETER
                    flags |= PARAMETERS
                out[n] = 63
                out[n + 1] = marker
                n += 2
                slots[3 * k] = start
                slots[3 * k + 1] = i
                slots[3 * k + 2] = kind
                k += 1
            else:
                out[n] = 32
                n += 1 - glued
                if not cython.compiled:
                    out[n : n + i - start] = data[start:i]
                    n += i - start
                else:
                    j = start
                    while j < i:
                        out[n] = data[j]
                        n += 1
                        j += 1
            glued = 0
            if rows != cython.NULL:
                rows[4 * t] = start
                rows[4 * t + 1] = i
                rows[4 * t + 2] = token
                rows[4 * t + 3] = -1
            t += 1
            last = -1
            casting = 0
            if token == OPERATOR:
                if operand == 0:
                    prefixes += 1
                    if depth + cases + prefixes > nesting:
                        nesting = depth + cases + prefixes
                else:
                    prefixes = 0
                if data[start] == 58 and i == start + 2:
                    casting = 1
                operand = 0
            else:
                signed_at = -1
                operand = 1
                prefixes = 0

        if listing != 0:
            k = _drop_keywords(slots, list_slot, k)
        if error == 0 and isinstance(found.sql, bytes) and not found.sql.isascii():
            try:
                found.sql.decode("utf-8")
            except UnicodeDecodeError as problem:
                error = 6
                start = problem.start
        if (flags & HINTED) and duckdb == 0:
            # Same text, other plan: keep its template apart.
            casing = casing ^ 1
        found.tokens = t
        found.joins = joins
        found.nesting = nesting
        found.flags = flags
        found.error = error
        found.error_at = start if error != 0 else 0
        if not cython.compiled:
            found.key = bytes(out[:n])
            found.packed = array("i", slots[: 3 * k]).tobytes()
            if rows is not None:
                found.token_bytes = array("i", rows[: 4 * t]).tobytes()
            key = _xxh64(found.key, n, self._seed)
            found.hash = key if key < 1 << 63 else key - (1 << 64)
            found.casing = casing if casing < 1 << 63 else casing - (1 << 64)
        else:
            found.key = out[:n]
            if k > 0:
                found.packed = cython.cast(cython.p_uchar, slots)[: 3 * k * cython.sizeof(cython.int)]
            if rows != cython.NULL:
                found.token_bytes = cython.cast(cython.p_uchar, rows)[: 4 * t * cython.sizeof(cython.int)]
            found.hash = _xxh64(out, n, self._seed)
            found.casing = casing
        return 0
