"""Columns' distributions as filters read them: shares of equal values, ranges, prefixes and patterns.

What ``planning.distribution`` answers, to the bit, from arrays: numbers and times as doubles, texts for LIKE
packed one after the other. Literals' source texts become values here.

This topic has the Cython and the Python form.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, longs

if cython.compiled:
    from cython.cimports.libc.string import memchr, memcmp


#: Domains of columns.
NUMBER, TIME, TEXT = 0, 1, 2
IS_TIME = cython.declare(cython.int, 1)
IS_TEXT = cython.declare(cython.int, 2)

_DAYS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _find(
    data: cython.p_uchar,
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    piece: cython.p_uchar,
    size: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Where a piece begins in ``data[at:end]``, or -1."""
    hit: cython.p_uchar
    if size == 0:
        return at
    end -= size - 1
    while at < end:
        hit = cython.cast(cython.p_uchar, memchr(data + at, piece[0], end - at))
        if hit == cython.NULL:
            return -1
        at = hit - data
        if memcmp(data + at, piece, size) == 0:
            return at
        at += 1
    return -1


@cython.cfunc
@cython.exceptval(check=False)
def _matches(
    data: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t, pieces: list
) -> cython.int:
    """Whether a text consists of the pieces, in order, with anything between them."""
    count: cython.Py_ssize_t = len(pieces)
    i: cython.Py_ssize_t
    piece: bytes = pieces[0]
    size: cython.Py_ssize_t = len(piece)
    raw: cython.p_uchar = piece
    if count == 1:
        return 1 if end - start == size and memcmp(data + start, raw, size) == 0 else 0
    if end - start < size or memcmp(data + start, raw, size) != 0:
        return 0
    start += size
    piece = pieces[count - 1]
    size = len(piece)
    raw = piece
    if end - start < size or memcmp(data + end - size, raw, size) != 0:
        return 0
    end -= size
    for i in range(1, count - 1):
        piece = pieces[i]
        size = len(piece)
        start = _find(data, start, end, piece, size)
        if start < 0:
            return 0
        start += size
    return 1


@cython.cclass
class Packed:
    """Texts in UTF-8, one after the other. Immutable; shared by all threads.

    Parameters
    ----------
    texts : list of str
    shares : list of float
        Of the first texts, a number each.
    """

    def __init__(self, texts, shares):
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]
        self.data = b"".join(raw)
        self.ends = numpy.cumsum([0, *map(len, raw)], dtype=numpy.int64)
        self.shares = numpy.array([*shares, 0.0], numpy.float64)
        self.data_at = self.data
        self.ends_at = longs(self.ends)
        self.shares_at = doubles(self.shares)
        self.commons = len(shares)
        self.count = len(texts)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _mark(
        self, pieces: list, first: cython.longlong, last: cython.longlong, shares: cython.int
    ) -> cython.double:
        """How many of some texts match a pattern's pieces, or the sum of their shares."""
        total: cython.double = 0.0
        entry: cython.longlong
        at: cython.Py_ssize_t
        end: cython.Py_ssize_t
        size: cython.Py_ssize_t
        piece: bytes
        if len(pieces) == 3 and len(pieces[0]) == 0 and len(pieces[2]) == 0:
            # ``%text%``, the usual pattern: one look through all texts, each of which counts once.
            piece = pieces[1]
            size = len(piece)
            at = self.ends_at[first]
            end = self.ends_at[last]
            entry = first
            while True:
                at = _find(self.data_at, at, end, piece, size)
                if at < 0:
                    return total
                while self.ends_at[entry + 1] <= at:
                    entry += 1
                if at + size > self.ends_at[entry + 1]:
                    at += 1
                    continue
                total += self.shares_at[entry] if shares != 0 else 1.0
                entry += 1
                at = self.ends_at[entry]
                if entry == last:
                    return total
        for entry in range(first, last):
            if _matches(self.data_at, self.ends_at[entry], self.ends_at[entry + 1], pieces) != 0:
                total += self.shares_at[entry] if shares != 0 else 1.0
        return total


@cython.cfunc
@cython.exceptval(check=False)
def _digits(data: cython.p_uchar, at: cython.Py_ssize_t, count: cython.Py_ssize_t) -> cython.longlong:
    """The number in some bytes of a text; -1 if one of them is no digit."""
    total: cython.longlong = 0
    digit: cython.longlong
    i: cython.Py_ssize_t
    for i in range(at, at + count):
        digit = data[i]
        digit -= 48
        if digit < 0 or digit > 9:
            return -1
        total = 10 * total + digit
    return total


@cython.cfunc
@cython.exceptval(check=False)
def _day(data: cython.p_uchar, at: cython.Py_ssize_t) -> cython.longlong:
    """Days since 1970 of ``YYYY-MM-DD``; -1000000 if that is not what is written there."""
    year: cython.longlong = _digits(data, at, 4)
    month: cython.longlong = _digits(data, at + 5, 2)
    day: cython.longlong = _digits(data, at + 8, 2)
    leap: cython.longlong
    length: cython.longlong
    if year < 1 or month < 1 or month > 12 or day < 1 or data[at + 4] != 45 or data[at + 7] != 45:
        return -1000000
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    length = _DAYS[month] - _DAYS[month - 1]
    if day > length + (leap if month == 2 else 0):
        return -1000000
    day += _DAYS[month - 1] + (leap if month > 2 else 0)
    year -= 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day - 719163


@cython.cfunc
@cython.exceptval(check=False)
def _as_number(text: str, start: cython.Py_ssize_t) -> cython.double:
    """A text after what it shares with others, as a fraction in base 256."""
    scale: cython.double = 1.0
    total: cython.double = 0.0
    code: cython.longlong
    end: cython.Py_ssize_t = min(len(text), start + 6)
    i: cython.Py_ssize_t
    for i in range(start, end):
        scale /= 256.0
        code = ord(text[i])
        total += (code if code < 255 else 255) * scale
    return total


@cython.cfunc
@cython.exceptval(check=False)
def _text_fraction(low: str, value: str, high: str) -> cython.double:
    """Where a text lies between two others, 0 to 1."""
    shared: cython.Py_ssize_t = 0
    common: cython.Py_ssize_t = min(len(low), len(high))
    base: cython.double
    width: cython.double
    share: cython.double
    while shared < common and low[shared] == high[shared]:
        shared += 1
    base = _as_number(low, shared)
    width = _as_number(high, shared) - base
    if not width > 0.0:
        return 0.5
    share = (_as_number(value, shared) - base) / width
    share = share if share > 0.0 else 0.0
    return share if share < 1.0 else 1.0


@cython.cclass
class Column:
    """A column's distribution as terms read it. Immutable; shared by all threads.

    Parameters
    ----------
    domain : int
        NUMBER, TIME or TEXT.
    common : dict of float or str to float
        Shares of the common values.
    order, running : list, list of float
        Common values ascending, and the sums of their shares up to each (one more than values).
    bounds : list
        Ascending values between which equal shares of the rest lie; empty: unknown.
    numbers : tuple of float
        Shares of all rows: those that are not NULL; the rest; then one over the distinct values of the rest;
        the share of one value of the rest, and its spread; the share of a value outside of the bounds; the
        least share of a range.
    """

    def __init__(self, domain, common, order, running, bounds, numbers):
        self.domain = domain
        self.common = common
        self.order = order
        self.bounds = bounds
        self.count = len(bounds)
        self.commons = len(order)
        self.texts = None
        self.folded = None
        self.lowest = self.highest = None
        self.held = {"running": numpy.array(running, numpy.float64)}
        self.running_at = doubles(self.held["running"])
        if domain != TEXT:
            self.held["common"] = numpy.array([*order, 0.0], numpy.float64)
            self.held["bounds"] = numpy.array([*bounds, 0.0], numpy.float64)
            self.common_at = doubles(self.held["common"])
            self.bounds_at = doubles(self.held["bounds"])
        elif self.count != 0:
            self.lowest, self.highest = bounds[0], bounds[self.count - 1]
        self.filled, self.rest, self.one, self.each, self.each_spread, self.outside, self.least = numbers

    @cython.cfunc
    @cython.exceptval(check=False)
    def _below(self, value: cython.double, inclusive: cython.int) -> cython.double:
        """Share of rows below a number (inclusive: or equal to it)."""
        low: cython.longlong = 0
        high: cython.longlong = self.commons
        middle: cython.longlong
        while low < high:
            middle = (low + high) // 2
            if self.common_at[middle] < value or (inclusive != 0 and self.common_at[middle] == value):
                low = middle + 1
            else:
                high = middle
        return self.running_at[low] + self.rest * self._rest_below(value, inclusive)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _rest_below(self, value: cython.double, inclusive: cython.int) -> cython.double:
        low: cython.longlong = 0
        high: cython.longlong = self.count
        last: cython.longlong = self.count - 1
        middle: cython.longlong
        strict: cython.double = 0.0
        width: cython.double
        share: cython.double
        while low < high:
            middle = (low + high) // 2
            if self.bounds_at[middle] < value:
                low = middle + 1
            else:
                high = middle
        if low > last:
            return 1.0
        if low == 0:
            if value != self.bounds_at[0]:
                return 0.0
        else:
            width = self.bounds_at[low] - self.bounds_at[low - 1]
            share = 0.5
            if 0.0 < width < 1e999:
                share = (value - self.bounds_at[low - 1]) / width
            strict = (low - 1 + share) / last * (1.0 - self.one)
        if inclusive == 0:
            return strict
        high = self.count
        while low < high:
            middle = (low + high) // 2
            if self.bounds_at[middle] <= value:
                low = middle + 1
            else:
                high = middle
        share = (low - 1.0) / last if last != 0 else 1.0
        strict += self.one
        strict = strict if strict > share else share
        return strict if strict < 1.0 else 1.0

    @cython.cfunc
    @cython.exceptval(-1.0)
    def _text_rest_below(self, value: str) -> cython.double:
        """Share of the rest below a text."""
        position: cython.longlong = bisect_left(self.bounds, value)
        last: cython.longlong = self.count - 1
        if position > last:
            return 1.0
        if position == 0:
            return 0.0
        share: cython.double = _text_fraction(self.bounds[position - 1], value, self.bounds[position])
        return (position - 1 + share) / last * (1.0 - self.one)

    @cython.cfunc
    @cython.exceptval(-1.0)
    def _text_below(self, value: str, inclusive: cython.int) -> cython.double:
        """Share of rows below a text (inclusive: or equal to it)."""
        at: cython.longlong = (
            bisect_right(self.order, value) if inclusive != 0 else bisect_left(self.order, value)
        )
        last: cython.longlong = self.count - 1
        rest: cython.double = self._text_rest_below(value)
        share: cython.double
        if inclusive != 0 and rest < 1.0 and (rest > 0.0 or value >= self.bounds[0]):
            share = (bisect_right(self.bounds, value) - 1.0) / last if last != 0 else 1.0
            rest += self.one
            rest = rest if rest > share else share
            rest = rest if rest < 1.0 else 1.0
        return self.running_at[at] + self.rest * rest

    @cython.cfunc
    def _packed(self, fold: cython.int) -> Packed:
        """Common values and bounds, in lower case to ignore case; made when needed."""
        found = self.folded if fold != 0 else self.texts
        if found is None:
            texts = [*map(str, self.common), *map(str, self.bounds)]
            if fold != 0:
                texts = [text.lower() for text in texts]
            found = Packed(texts, list(self.common.values()))
            if fold != 0:
                self.folded = found
            else:
                self.texts = found
        return found


@cython.cfunc
@cython.exceptval(check=False)
def _moment(data: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.double:
    """Seconds since 1970 of a quoted date or time; NaN: it is of an unusual form."""
    day: cython.longlong
    hour: cython.longlong
    minute: cython.longlong
    second: cython.longlong
    unusual: cython.double = 1e999 - 1e999
    if end - start != 12 and end - start != 21:
        return unusual
    day = _day(data, start + 1)
    if day == -1000000:
        return unusual
    if end - start == 12:
        return 86400 * day
    hour = _digits(data, start + 12, 2)
    minute = _digits(data, start + 15, 2)
    second = _digits(data, start + 18, 2)
    if data[start + 14] != 58 or data[start + 17] != 58:
        return unusual
    if data[start + 11] != 32 and data[start + 11] != 84:
        return unusual
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return unusual
    return 86400 * day + 3600 * hour + 60 * minute + second


@cython.cfunc
def place_at(domain: cython.int, data: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t):
    """As :func:`place`, of a literal's bytes in UTF-8."""
    number: cython.double = 0.0
    digit: cython.int
    i: cython.Py_ssize_t
    text: str
    if domain == 0:
        for i in range(start, end):
            digit = data[i] - 48
            if digit < 0 or digit > 9 or i == start + 15:
                break
            number = 10.0 * number + digit
        else:
            return number
        return place(domain, data[start:end].decode("utf-8"))
    if end - start < 2 or data[start] != 39 or data[end - 1] != 39:
        return None
    if domain == IS_TEXT:
        text = data[start + 1 : end - 1].decode("utf-8")
        return text.replace("''", "'") if "'" in text else text
    number = _moment(data, start, end)
    return None if number != number else number


@cython.cfunc
def place(domain: cython.int, literal):
    """A literal's value in a column's domain; None: it is of an unusual form."""
    text: str
    raw: bytes
    if type(literal) is not str:
        return None
    text = literal
    if domain == 0:
        try:
            return float(text)
        except ValueError:
            return None
    if domain == IS_TEXT:
        if len(text) < 2 or text[0] != "'" or text[len(text) - 1] != "'":
            return None
        text = text[1 : len(text) - 1]
        return text.replace("''", "'") if "'" in text else text
    if not text.isascii():
        return None
    raw = text.encode("ascii")
    return place_at(domain, raw, 0, len(raw))


def placed(column: Column, literal):
    """A literal's value in a column's domain, None if it is of an unusual form."""
    return place(column.domain, literal)
