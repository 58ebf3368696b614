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
from cython.cimports.godb_fast._kernels.xxh64 import xxh64

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

# Classes of words. Those up to END can end an operand, so that a minus after it subtracts; those from
# FIRST_ACTION on change what the scanner does.
IDENTIFIER = cython.declare(cython.int, 0)
TYPE = cython.declare(cython.int, 1)
CONSTANT = cython.declare(cython.int, 2)
END = cython.declare(cython.int, 3)
OTHER = cython.declare(cython.int, 4)
FIRST_ACTION = cython.declare(cython.int, 10)
SELECT = cython.declare(cython.int, 10)
FROM = cython.declare(cython.int, 11)
CLEAR = cython.declare(cython.int, 12)
BY = cython.declare(cython.int, 13)
KEEP = cython.declare(cython.int, 14)
JOIN = cython.declare(cython.int, 15)
IN = cython.declare(cython.int, 7)
INTERVAL = cython.declare(cython.int, 8)
DISTINCT = cython.declare(cython.int, 9)
CASE = cython.declare(cython.int, 16)
AS = cython.declare(cython.int, 5)
ON = cython.declare(cython.int, 6)
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
#: White space, and what may begin a comment.
BLANK_BYTE = cython.declare(cython.int, 1)
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

#: Spreads all keywords over 2048 places without a collision (found by trying).
WORD_HASH = 0xB2221A58008A05A7
_WORD = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*")
_MASK = 0xFFFFFFFFFFFFFFFF


def _byte_classes(dialect):
    letters = "abcdefghijklmnopqrstuvwxyz"
    table = bytearray(256)
    for characters, bits in (
        (" \t\n\r\f\v-/", BLANK_BYTE),
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


# Cells of the scanner's scratch: what is seldom read or written lives here, so that the few values that every
# token needs stay in registers.
DEPTH = cython.declare(cython.int, 0)
CASES = cython.declare(cython.int, 1)
PREFIXES = cython.declare(cython.int, 2)
NESTING = cython.declare(cython.int, 3)
JOINS = cython.declare(cython.int, 4)
FLAGS = cython.declare(cython.int, 5)
ERROR = cython.declare(cython.int, 6)
#: A list of literals after IN that is being read: whether there is one, whether a literal must follow, the
#: types seen; where text, slots, rows and bytes stood when it began.
LISTING = cython.declare(cython.int, 7)
WANTS = cython.declare(cython.int, 8)
LIST_KINDS = cython.declare(cython.int, 9)
LIST_OUT = cython.declare(cython.int, 10)
LIST_SLOT = cython.declare(cython.int, 11)
LIST_ROW = cython.declare(cython.int, 12)
LIST_START = cython.declare(cython.int, 13)
#: What :func:`_other` found: a kind of token and a marker (the letter of a literal's type, or 0).
FOUND_KIND = cython.declare(cython.int, 14)
FOUND_MARKER = cython.declare(cython.int, 15)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _skip_blank(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    i: cython.Py_ssize_t,
    classes: cython.p_uchar,
    cells: cython.p_int,
) -> cython.Py_ssize_t:
    """Where white space and comments that begin at ``i`` end."""
    start: cython.Py_ssize_t
    c: cython.int
    depth: cython.int
    while i < size and (classes[data[i]] & BLANK_BYTE):
        c = data[i]
        if c != 45 and c != 47:
            i += 1
        elif c == 45 and i + 1 < size and data[i + 1] == 45:
            i += 2
            while i < size and data[i] != 10 and data[i] != 13:
                i += 1
        elif c == 47 and i + 1 < size and data[i + 1] == 42:
            start = i
            if i + 2 < size and data[i + 2] == 43:
                cells[FLAGS] |= HINTED
            i += 2
            depth = 1
            while i < size and depth > 0:
                if data[i] == 42 and i + 1 < size and data[i + 1] == 47:
                    depth -= 1
                    i += 2
                elif data[i] == 47 and i + 1 < size and data[i + 1] == 42:
                    depth += 1
                    i += 2
                else:
                    i += 1
            if depth > 0:
                cells[ERROR] = 3
                return start
        else:
            break
    return i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _quoted(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    i: cython.Py_ssize_t,
    quote: cython.int,
    escapes: cython.int,
) -> cython.Py_ssize_t:
    """End of a quoted text whose contents begin at ``i``, -1 if it has none."""
    c: cython.int
    while i < size:
        c = data[i]
        i += 1
        if c == quote:
            if data[i] != quote or i >= size:
                return i
            i += 1
        elif c == 92 and escapes != 0:
            i += 1
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _number(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    i: cython.Py_ssize_t,
    classes: cython.p_uchar,
    duckdb: cython.int,
    cells: cython.p_int,
) -> cython.Py_ssize_t:
    """End of a number that begins at ``i``."""
    j: cython.Py_ssize_t
    c: cython.int
    cells[FOUND_MARKER] = 105
    c = data[i + 1] | 32
    if data[i] == 48 and duckdb == 0 and (c == 120 or c == 111 or c == 98):
        # PostgreSQL's 0x1F; to DuckDB that is a zero named x1F.
        i += 2
        while i < size and (classes[data[i]] & WORD_PART):
            i += 1
        return i
    while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
        i += 1
    if i < size and data[i] == 46 and not (i + 1 < size and data[i + 1] == 46):
        cells[FOUND_MARKER] = 100
        i += 1
        while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
            i += 1
    if i < size and (data[i] == 101 or data[i] == 69):
        j = i + 1
        if j < size and (data[j] == 43 or data[j] == 45):
            j += 1
        if j < size and (classes[data[j]] & DIGIT):
            cells[FOUND_MARKER] = 102
            i = j
            while i < size and ((classes[data[i]] & DIGIT) or data[i] == 95):
                i += 1
    return i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _dollar(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    start: cython.Py_ssize_t,
    classes: cython.p_uchar,
    cells: cython.p_int,
) -> cython.Py_ssize_t:
    """End of what a dollar begins: ``$1``, ``$name``, ``$$…$$``, ``$tag$…$tag$``, or a lone dollar."""
    i: cython.Py_ssize_t = start + 1
    j: cython.Py_ssize_t
    k: cython.Py_ssize_t
    cells[FOUND_KIND] = VERBATIM
    cells[FOUND_MARKER] = 112
    if i < size and (classes[data[i]] & DIGIT):
        while i < size and (classes[data[i]] & DIGIT):
            i += 1
        return i
    while i < size and data[i] != 36 and (classes[data[i]] & WORD_PART):
        i += 1
    if i < size and data[i] == 36:
        i += 1
        cells[FOUND_MARKER] = 115
        j = i - start
        while i + j <= size:
            if data[i] == 36:
                k = 0
                while k < j and data[i + k] == data[start + k]:
                    k += 1
                if k == j:
                    return i + j
            i += 1
        cells[ERROR] = 4
        return start
    if i == start + 1:
        cells[FOUND_KIND] = OPERATOR
        cells[FOUND_MARKER] = 0
    return i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _other(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    start: cython.Py_ssize_t,
    classes: cython.p_uchar,
    duckdb: cython.int,
    operand: cython.int,
    last: cython.int,
    cells: cython.p_int,
) -> cython.Py_ssize_t:
    """End of a token that is neither word nor punctuation; what it is stands in the cells."""
    i: cython.Py_ssize_t = start + 1
    j: cython.Py_ssize_t
    c: cython.int = data[start]
    d: cython.int = data[start + 1]
    b: cython.int = classes[c]
    cells[FOUND_KIND] = OPERATOR
    cells[FOUND_MARKER] = 0
    if c == 39:
        cells[FOUND_KIND] = VERBATIM
        cells[FOUND_MARKER] = 115
        i = _quoted(data, size, i, c, 0)
        if i < 0:
            cells[ERROR] = 1
    elif (b & DIGIT) or c == 46:
        cells[FOUND_KIND] = VERBATIM
        i = _number(data, size, start, classes, duckdb, cells)
    elif c == 34:
        cells[FOUND_KIND] = QUOTED
        i = _quoted(data, size, i, c, 0)
        if i < 0:
            cells[ERROR] = 2
    elif c == 36:
        i = _dollar(data, size, start, classes, cells)
    elif c == 63 and not (duckdb == 0 and operand != 0):
        cells[FOUND_KIND] = VERBATIM
        cells[FOUND_MARKER] = 112
    elif c == 37 and operand == 0 and d == 115 and i < size and not (classes[data[i + 1]] & WORD_PART):
        # %s
        cells[FOUND_KIND] = VERBATIM
        cells[FOUND_MARKER] = 112
        i += 1
    elif c == 37 and operand == 0 and d == 40 and i + 1 < size and (classes[data[i + 1]] & WORD_START):
        # %(name)s
        j = i + 1
        while j < size and (classes[data[j]] & WORD_PART):
            j += 1
        if j + 1 < size and data[j] == 41 and data[j + 1] == 115:
            cells[FOUND_KIND] = VERBATIM
            cells[FOUND_MARKER] = 112
            i = j + 2
    elif c == 58:
        if i < size and (d == 58 or d == 61):
            i += 1
        elif operand == 0 and last != -2 and i < size and (classes[d] & WORD_START):
            # :name; after a bracket it would be a slice.
            while i < size and (classes[data[i]] & WORD_PART):
                i += 1
            cells[FOUND_KIND] = VERBATIM
            cells[FOUND_MARKER] = 112
    elif b & OPERATOR_BYTE:
        while i < size and (classes[data[i]] & OPERATOR_BYTE):
            if (data[i] == 45 and data[i + 1] == 45) or (data[i] == 47 and data[i + 1] == 42):
                break
            b |= classes[data[i]]
            i += 1
        if not (b & SPECIAL_BYTE):
            # As in PostgreSQL, so that "=-1" is an equals sign and a negative number.
            while i > start + 1 and (data[i - 1] == 43 or data[i - 1] == 45):
                i -= 1
        if i == start + 1 and c == 35 and i < size and (classes[d] & DIGIT):
            # DuckDB's positional reference: #1.
            cells[FOUND_KIND] = VERBATIM
            while i < size and (classes[data[i]] & DIGIT):
                i += 1
    elif c == 0:
        cells[ERROR] = 5
    # Anything else is no engine's token, and kept for the engine to refuse.
    return i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _prefixed(
    data: cython.p_uchar,
    size: cython.Py_ssize_t,
    i: cython.Py_ssize_t,
    letter: cython.ulonglong,
    cells: cython.p_int,
) -> cython.Py_ssize_t:
    """End of E'…', B'…', X'…', N'…', U&'…' or U&"…" whose prefix ends at ``i``; -1 if it is none of these."""
    c: cython.int = data[i]
    cells[FOUND_KIND] = VERBATIM
    cells[FOUND_MARKER] = 0
    if c == 39 and (letter == 101 or letter == 98 or letter == 120 or letter == 110):
        if letter == 101:
            cells[FOUND_MARKER] = 115
        i = _quoted(data, size, i + 1, c, 1 if letter == 101 else 0)
        if i < 0 or i > size:
            cells[ERROR] = 1
        return i
    if c == 38 and letter == 117 and i + 1 < size and (data[i + 1] == 39 or data[i + 1] == 34):
        c = data[i + 1]
        if c == 34:
            cells[FOUND_KIND] = QUOTED
        i = _quoted(data, size, i + 2, c, 0)
        if i < 0:
            cells[ERROR] = 1 if c == 39 else 2
        return i
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _deeper(cells: cython.p_int) -> cython.void:
    """Note how deeply brackets, CASE and prefix operators are nested."""
    depth: cython.int = cells[DEPTH] + cells[CASES] + cells[PREFIXES]
    if depth > cells[NESTING]:
        cells[NESTING] = depth


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _list_item(
    kind: cython.int, slots: cython.p_int, k: cython.Py_ssize_t, cells: cython.p_int
) -> cython.Py_ssize_t:
    """A token inside of a possible list of literals; the number of slots, fewer if it is no list.

    ``kind`` is the bit of a literal's type, 0 for a comma, -1 for a sign, -2 for anything else.
    """
    if kind > 0 and cells[WANTS] != 0:
        cells[WANTS] = 0
        cells[LIST_KINDS] |= kind
    elif kind == 0 and cells[WANTS] == 0:
        cells[WANTS] = 1
    elif not (kind == -1 and cells[WANTS] != 0):
        cells[LISTING] = 0
        k = _drop_keywords(slots, cells[LIST_SLOT], k)
    return k


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _row(
    rows: cython.p_int,
    t: cython.Py_ssize_t,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    kind: cython.int,
    extra: cython.int,
) -> cython.void:
    rows[4 * t] = start
    rows[4 * t + 1] = end
    rows[4 * t + 2] = kind
    rows[4 * t + 3] = extra


@cython.final
@cython.no_gc
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
        return self._texts()

    @cython.cfunc
    def _texts(self) -> tuple:
        if self._literals is None:
            self._literals = tuple(self._read())
        return self._literals

    @property
    def slot_kinds(self):
        """Kind of each slot, as in ``core.LiteralSlot.kind``."""
        numbers = memoryview(self.packed).cast("i")
        kinds = []
        for at in range(0, len(numbers), 3):
            kind = numbers[at + 2] & 255
            if kind == LIST:
                del kinds[len(kinds) - (numbers[at + 2] >> 8) :]
            kinds.append(SLOT_KINDS[kind])
        return tuple(kinds)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _tops(self, tops: cython.p_int, room: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where in ``packed`` each slot stands, a list being one; their number, -1 if there is no room."""
        raw: bytes = self.packed
        if not cython.compiled:
            raw = memoryview(raw).cast("i")
        numbers: cython.p_int = (
            cython.cast(cython.p_int, cython.cast(cython.p_char, raw)) if cython.compiled else raw
        )
        count: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t
        kind: cython.int
        for at in range(len(self.packed) // 12):
            kind = numbers[3 * at + 2]
            if (kind & 255) == LIST:
                count -= kind >> 8
            if count >= room:
                return -1
            tops[count] = at
            count += 1
        return count

    @cython.cfunc
    def _read(self) -> list:
        texts: list = []
        parameters: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t
        at: cython.Py_ssize_t
        kind: cython.int
        raw: bytes = self.packed
        if not cython.compiled:
            raw = memoryview(raw).cast("i")
        numbers: cython.p_int = (
            cython.cast(cython.p_int, cython.cast(cython.p_char, raw)) if cython.compiled else raw
        )
        size: cython.Py_ssize_t = len(self.packed) // 4
        # Bytes are characters in a text that is all ASCII: nothing is encoded, nothing decoded.
        plain: cython.bint = isinstance(self.sql, str) and self.sql.isascii()
        text: str = self.sql if plain else ""
        data: bytes = b"" if plain else self.sql if isinstance(self.sql, bytes) else self.sql.encode("utf-8")
        for at in range(0, size, 3):
            kind = numbers[at + 2] & 255
            if kind == LIST:
                count = len(texts) - (numbers[at + 2] >> 8)
                elements = tuple(texts[count:])
                del texts[count:]
                texts.append(elements)
                continue
            if plain:
                found = text[numbers[at] : numbers[at + 1]]
            else:
                found = data[numbers[at] : numbers[at + 1]].decode("utf-8")
            if kind == PARAMETER and found in ("?", "%s"):
                parameters += 1
                found = f"${parameters}"
            texts.append(found)
        return texts

    def __repr__(self):
        return f"<Fingerprint {self.hash & _MASK:016x} {self.text[:60]!r}>"


@cython.final
@cython.cclass
class Lexer:
    """The lexer of one dialect; immutable, shared by all threads."""

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
            self._keys = [0] * 2048
            self._sizes = bytearray(2048)
            self._lasts = bytearray(2048)
            self._kinds = bytearray(2048)
            self._reserved = bytearray(2048)
        for i in range(2048):
            self._kinds[i] = 0
        for kind, words in WORDS.items():
            for word in words.split():
                raw = word.encode()
                key = int.from_bytes(raw[:8], "little")
                i = (((key + len(raw)) * WORD_HASH) & _MASK) >> 53
                if self._kinds[i]:
                    raise ValueError(f"{word} collides with another keyword: choose another WORD_HASH")
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
        needed: cython.Py_ssize_t
        small: cython.int[6144]
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
            needed = out_at + size + 16
            if needed <= 6144:
                # The usual statement needs no allocation.
                slots = small  # noqa: F821 - declared above
            else:
                slots = cython.cast(cython.p_int, malloc(needed * cython.sizeof(cython.int)))
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
                if slots != small:  # noqa: F821
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
        """One pass; fills ``found``. A NUL byte stands behind the text."""
        classes: cython.p_uchar = self._classes
        fold: cython.p_uchar = self._fold
        kinds: cython.p_uchar = self._kinds
        state: cython.uchar[256]
        cells: cython.int[16]
        # WORD_HASH, as a typed local.
        multiplier: cython.ulonglong = 0xB2221A58008A05A7
        mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
        prime: cython.ulonglong = 0x100000001B3
        key: cython.ulonglong = 0
        casing: cython.ulonglong = 0
        wide: cython.ulonglong = 0
        low7: cython.ulonglong = 0
        upper: cython.ulonglong = 0
        lower: cython.ulonglong = 0
        stop: cython.ulonglong = 0
        count: cython.ulonglong = 0
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
        level: cython.int = 0
        # Whether the last token ended an operand, so that a minus subtracts.
        operand: cython.int = 0
        # Class of the last token if it was a word, else -1 (-2 after an opening bracket); of the one before.
        last: cython.int = -1
        before: cython.int = -1
        # 1 after "::", 2 after the name of a type.
        casting: cython.int = 0
        extra: cython.int = 0
        # 1 if the next token follows without a space.
        glued: cython.int = 1
        signed_at: cython.Py_ssize_t = -1
        prefixes: cython.int = 0
        if not cython.compiled:
            state = bytearray(256)
            cells = [0] * 16
        for at in range(16):
            cells[at] = 0
        state[0] = 0

        while True:
            if data[i] == 32:
                i += 1
            c = data[i]
            b = classes[c]
            if b & BLANK_BYTE:
                i = _skip_blank(data, size, i, classes, cells)
                if cells[ERROR] != 0:
                    start = i
                    break
                c = data[i]
                b = classes[c]
            start = i
            if c == 59:
                # Semicolons at the end do not count.
                while i < size and data[i] == 59:
                    i = _skip_blank(data, size, i + 1, classes, cells)
                if i >= size or cells[ERROR] != 0:
                    start = i
                    break
                if cells[LISTING] != 0:
                    k = _list_item(-2, slots, k, cells)
                cells[FLAGS] |= MULTIPLE
                cells[DEPTH] = 0
                level = 0
                state[0] = 0
                out[n] = 59
                n += 1
                if rows != cython.NULL:
                    _row(rows, t, start, start + 1, PUNCTUATION, -1)
                t += 1
                operand = 0
                last = -1
                casting = 0
                continue
            if b & WORD_START:
                # Written at once, behind the space that will precede it.
                at_out = n + 1 - glued
                capital = 0
                key = 0
                if not cython.compiled:
                    i = _WORD.match(data, start, size).end()
                    folded = data[start:i].lower()
                    out[at_out : at_out + i - start] = folded
                    capital = 0 if folded == data[start:i] else 32
                    key = int.from_bytes(folded[:8], "little")
                else:
                    # Eight bytes at a time, without a branch on where the word ends: lower case, then the
                    # first byte that is no part of a word.
                    while i + 8 <= size and BIG_ENDIAN == 0:
                        memcpy(cython.address(wide), data + i, 8)
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
                        stop = ((stop & (0 - stop)) >> 7) - 1
                        if i == start:
                            key = lower & stop
                        if (upper & stop) != 0:
                            capital = 32
                        count = ((stop & ones) * ones) >> 56
                        i += count
                        if count < 8:
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
                if j == 1 and (data[i] == 39 or data[i] == 38):
                    at_out = _prefixed(data, size, i, key, cells)
                    if cells[ERROR] != 0:
                        break
                    if at_out >= 0:
                        i = at_out
                        j = 0
                if j > 0:
                    wide = j
                    at = ((key + wide) * multiplier & mask) >> 53
                    extra = kinds[at]
                    if extra != IDENTIFIER and (
                        self._keys[at] != key
                        or self._sizes[at] != j
                        or (j > 8 and self._lasts[at] != fold[data[i - 1]])
                    ):
                        extra = IDENTIFIER
                    if (
                        capital != 0
                        and duckdb != 0
                        and data[i] != 40
                        and not (extra != IDENTIFIER and self._reserved[at])
                        and not (extra == BY and last == OTHER)
                    ):
                        # A function's name is no part of a column's name as it is spelled.
                        for at_out in range(start, i):
                            wide = data[at_out]
                            casing = ((casing ^ wide) * prime) & mask
                        casing = ((casing ^ 32) * prime) & mask
                    if cells[LISTING] != 0:
                        if cells[WANTS] != 0 and extra == CONSTANT:
                            slots[3 * k] = start
                            slots[3 * k + 1] = i
                            slots[3 * k + 2] = KEYWORD
                            k = _list_item(16 if key == 0x6C6C756E else 32, slots, k + 1, cells)
                        else:
                            k = _list_item(-2, slots, k, cells)
                    if glued == 0:
                        out[n] = 32
                    n += 1 - glued + j
                    glued = 0
                    if rows != cython.NULL:
                        _row(rows, t, start, i, WORD, extra)
                    t += 1
                    if casting != 0 or last == AS:
                        casting = 2 if casting == 1 or (last == AS and extra <= TYPE) else 0
                    before = last
                    last = extra
                    signed_at = -1
                    cells[PREFIXES] = 0
                    operand = 1
                    if extra > CONSTANT:
                        if extra == END:
                            if cells[CASES] > 0:
                                cells[CASES] -= 1
                        else:
                            operand = 0
                            if extra >= FIRST_ACTION:
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
                                    cells[JOINS] += 1
                                elif extra == CASE:
                                    cells[CASES] += 1
                                    _deeper(cells)
                                else:
                                    # NOT
                                    cells[PREFIXES] = prefixes + 1
                                    _deeper(cells)
                    prefixes = cells[PREFIXES]
                    continue
            elif (b & PUNCTUATION_BYTE) and not (c == 46 and (classes[data[i + 1]] & DIGIT)):
                i += 1
                if cells[LISTING] != 0:
                    if c == 41 and cells[WANTS] == 0:
                        # The list is complete: one slot takes the place of its elements.
                        n = cells[LIST_OUT]
                        t = cells[LIST_ROW]
                        out[n] = 63
                        out[n + 1] = 108
                        out[n + 2] = 48 + (cells[LIST_KINDS] >> 4)
                        d = cells[LIST_KINDS] & 15
                        out[n + 3] = 48 + d if d < 10 else 87 + d
                        n += 4
                        slots[3 * k] = cells[LIST_START]
                        slots[3 * k + 1] = start
                        d = k - cells[LIST_SLOT]
                        slots[3 * k + 2] = LIST | (d << 8)
                        k += 1
                        if rows != cython.NULL:
                            _row(rows, t, cells[LIST_START], start, SLOT, -1)
                        t += 1
                        cells[LISTING] = 0
                    else:
                        k = _list_item(0 if c == 44 else -2, slots, k, cells)
                if rows != cython.NULL:
                    _row(rows, t, start, i, PUNCTUATION, -1)
                t += 1
                # No space before a comma, a closing bracket, a dot or the parenthesis of a call.
                if b & OPENING_BYTE:
                    if last != IDENTIFIER:
                        out[n] = 32
                        n += 1 - glued
                    d = state[level] & (IN_BY | KEPT)
                    if last == TYPE or last == INTERVAL or (casting == 2 and last == IDENTIFIER):
                        d |= KEPT
                    elif last == ON and before == DISTINCT:
                        d |= IN_BY
                    cells[DEPTH] += 1
                    _deeper(cells)
                    level = cells[DEPTH]
                    if level >= LEVELS:
                        level = LEVELS - 1
                    state[level] = d
                    out[n] = c
                    n += 1
                    if c == 40 and last == IN:
                        cells[LISTING] = 1
                        cells[WANTS] = 1
                        cells[LIST_OUT] = n
                        cells[LIST_SLOT] = k
                        cells[LIST_ROW] = t
                        cells[LIST_START] = i
                        cells[LIST_KINDS] = 0
                    last = -2 if c == 91 else -1
                    operand = 0
                    glued = 1
                else:
                    out[n] = c
                    n += 1
                    last = -1
                    operand = 0
                    glued = 0
                    if c == 46:
                        glued = 1
                    elif c == 44:
                        if state[level] & IN_FROM:
                            cells[JOINS] += 1
                    else:
                        operand = 1
                        if cells[DEPTH] > 0:
                            cells[DEPTH] -= 1
                            level = cells[DEPTH]
                            if level >= LEVELS:
                                level = LEVELS - 1
                casting = 0
                cells[PREFIXES] = 0
                prefixes = 0
                signed_at = -1
                continue
            elif i >= size:
                break
            elif (b & OPERATOR_BYTE) and data[i + 1] == 32 and c != 45:
                # The usual operator: one character, then a space.
                i += 1
                cells[FOUND_KIND] = OPERATOR
                cells[FOUND_MARKER] = 0
            else:
                i = _other(data, size, start, classes, duckdb, operand, last, cells)
                if cells[ERROR] != 0:
                    break
            # Literals, operators, quoted identifiers.
            kind = cells[FOUND_KIND]
            marker = cells[FOUND_MARKER]
            if marker != 0:
                if marker != 112 and (
                    last == INTERVAL or (state[level] & KEPT) or (marker == 105 and (state[level] & IN_BY))
                ):
                    marker = 0
                else:
                    kind = SLOT
            elif kind == OPERATOR:
                if c == 45 and operand == 0 and i == start + 1:
                    if (classes[data[i]] & DIGIT) or (data[i] == 46 and (classes[data[i + 1]] & DIGIT)):
                        # The sign of a number: it stays in the text, and begins the literal.
                        signed_at = start
            if cells[LISTING] != 0:
                if kind == SLOT:
                    if marker == 105:
                        d = 1
                    elif marker == 100:
                        d = 2
                    elif marker == 102:
                        d = 4
                    elif marker == 115:
                        d = 8
                    else:
                        d = 64
                    k = _list_item(d, slots, k, cells)
                else:
                    k = _list_item(-1 if signed_at == start else -2, slots, k, cells)
            if kind == SLOT:
                if signed_at >= 0:
                    # The sign's own token is already in the text; both are one slot.
                    t -= 1
                    start = signed_at
                else:
                    out[n] = 32
                    n += 1 - glued
                out[n] = 63
                out[n + 1] = marker
                n += 2
                slots[3 * k] = start
                slots[3 * k + 1] = i
                if marker == 105:
                    slots[3 * k + 2] = INTEGER
                elif marker == 100:
                    slots[3 * k + 2] = DECIMAL
                elif marker == 102:
                    slots[3 * k + 2] = FLOAT
                elif marker == 115:
                    slots[3 * k + 2] = STRING
                else:
                    slots[3 * k + 2] = PARAMETER
                    cells[FLAGS] |= PARAMETERS
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
            if rows != cython.NULL:
                _row(rows, t, start, i, kind, -1)
            t += 1
            glued = 0
            last = -1
            casting = 0
            if kind == OPERATOR:
                if operand == 0:
                    cells[PREFIXES] = prefixes + 1
                    prefixes += 1
                    _deeper(cells)
                else:
                    cells[PREFIXES] = 0
                    prefixes = 0
                if c == 58 and i == start + 2 and data[start + 1] == 58:
                    casting = 1
                operand = 0
            else:
                signed_at = -1
                operand = 1
                cells[PREFIXES] = 0
                prefixes = 0

        if cells[LISTING] != 0:
            k = _list_item(-2, slots, k, cells)
        if cells[ERROR] == 0 and isinstance(found.sql, bytes) and not found.sql.isascii():
            try:
                found.sql.decode("utf-8")
            except UnicodeDecodeError as problem:
                cells[ERROR] = 6
                start = problem.start
        if (cells[FLAGS] & HINTED) and duckdb == 0:
            # Same text, other plan: keep its template apart.
            casing = casing ^ 1
        found.tokens = t
        found.joins = cells[JOINS]
        found.nesting = cells[NESTING]
        found.flags = cells[FLAGS]
        found.error = cells[ERROR]
        found.error_at = start if cells[ERROR] != 0 else 0
        if not cython.compiled:
            found.key = bytes(out[:n])
            found.packed = array("i", slots[: 3 * k]).tobytes()
            if rows is not None:
                found.token_bytes = array("i", rows[: 4 * t]).tobytes()
            key = xxh64(found.key, n, self._seed)
            found.hash = key if key < 1 << 63 else key - (1 << 64)
            found.casing = casing if casing < 1 << 63 else casing - (1 << 64)
        else:
            found.key = out[:n]
            if k > 0:
                found.packed = cython.cast(cython.p_uchar, slots)[: 3 * k * cython.sizeof(cython.int)]
            if rows != cython.NULL:
                found.token_bytes = cython.cast(cython.p_uchar, rows)[: 4 * t * cython.sizeof(cython.int)]
            found.hash = xxh64(out, n, self._seed)
            found.casing = casing
        return 0
