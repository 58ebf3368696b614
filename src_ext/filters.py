"""A block's rows in every scenario, from the source texts of its literals.

What filters are known to let pass is compiled once per template into :class:`Term` trees over the columns'
distributions; here the frequent forms (equality, IN, ranges, LIKE, NULL tests, and AND, OR, NOT of these) are
estimated without making Python objects of more than the literals themselves. Whatever a term cannot read (a
parameter, an unusual literal, a pattern with ``_``) it leaves to the closure of the same predicate, which
``planning.selectivity`` made, and which gives the same numbers for the forms that both know.

This topic has the Cython and the Python form.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles
from cython.cimports.godb_fast._kernels.columns import Column, Packed, place, place_at
from cython.cimports.godb_fast._kernels.lexer import Fingerprint
from cython.cimports.libc.math import log, pow, sqrt

# The same numbers as in planning.distribution, which says what they mean.
TINY = cython.declare(cython.double, 1e-9)
COMMON = cython.declare(cython.double, 0.2)
KNOWN = cython.declare(cython.double, 0.05)
HISTOGRAM = cython.declare(cython.double, 0.3)
BOUNDS_ONLY = cython.declare(cython.double, 0.8)
UNIFORM = cython.declare(cython.double, 0.8)
SAMPLED_PATTERN = cython.declare(cython.double, 0.8)
GUESSED = cython.declare(cython.double, 1.5)
UNKNOWN_RANGE = cython.declare(cython.double, 1.0 / 3.0)
UNKNOWN_INTERVAL = cython.declare(cython.double, 1.0 / 9.0)
PATTERN_BASE = cython.declare(cython.double, 0.25)
PATTERN_PER_CHARACTER = cython.declare(cython.double, 0.75)
PATTERN_LEAST = cython.declare(cython.double, 1e-4)
PATTERN_PRIOR = cython.declare(cython.double, 2.0)
PATTERN_SAMPLE = cython.declare(cython.longlong, 10)

IS_TEXT = cython.declare(cython.int, 2)

#: The kind of a list's slot, as in the lexer, and slots beyond which literals are read as objects.
LIST = cython.declare(cython.int, 5)
ROOM = cython.declare(cython.Py_ssize_t, 64)

if not cython.compiled:

    def compare(one, other):
        """As C compares texts."""
        return (one > other) - (one < other)


#: Kinds of terms.
FIXED, EQUAL, IN, RANGE, LIKE, REST, ANY, ALL, CLOSURE = range(9)
A_FIXED = cython.declare(cython.int, 0)
AN_EQUAL = cython.declare(cython.int, 1)
AN_IN = cython.declare(cython.int, 2)
A_RANGE = cython.declare(cython.int, 3)
A_LIKE = cython.declare(cython.int, 4)
A_REST = cython.declare(cython.int, 5)
AN_ANY = cython.declare(cython.int, 6)
A_CLOSURE = cython.declare(cython.int, 8)


def constants():
    """The numbers of this file that are those of ``planning.distribution``, by name."""
    return {
        "TINY": TINY,
        "COMMON": COMMON,
        "KNOWN": KNOWN,
        "HISTOGRAM": HISTOGRAM,
        "BOUNDS_ONLY": BOUNDS_ONLY,
        "UNIFORM": UNIFORM,
        "SAMPLED_PATTERN": SAMPLED_PATTERN,
        "GUESSED": GUESSED,
        "UNKNOWN_RANGE": UNKNOWN_RANGE,
        "UNKNOWN_INTERVAL": UNKNOWN_INTERVAL,
        "PATTERN_BASE": PATTERN_BASE,
        "PATTERN_PER_CHARACTER": PATTERN_PER_CHARACTER,
        "PATTERN_LEAST": PATTERN_LEAST,
        "PATTERN_PRIOR": PATTERN_PRIOR,
        "PATTERN_SAMPLE": PATTERN_SAMPLE,
    }


@cython.cclass
class Term:
    """What one predicate lets pass. Immutable once it is in :class:`Filters`; shared by all threads.

    Parameters
    ----------
    kind : int
        FIXED … ALL.
    column : Column or None
    operands : list of tuple
        EQUAL, IN, LIKE: (slot, fixed value); RANGE: (slot, fixed value, 1 for the lower side, 1 for
        inclusive, shift). Slot -1: the fixed value counts.
    parts : list of Term
        Of REST, ANY and ALL.
    share, spread : float
        FIXED: the estimate. REST: ``share`` is that of all rows that are not NULL. LIKE: ``share`` is 1 to
        ignore case.
    """

    def __init__(self, kind, column=None, operands=(), parts=(), share=0.0, spread=0.0):
        self.kind = kind
        self.column = column
        self.operands = list(operands)
        self.parts = list(parts)
        self.share = share
        self.spread = spread
        self.closure = None
        # The only operand of most terms, in fewer steps.
        self.slot, self.fixed = self.operands[0][:2] if self.operands else (-1, None)


def _terms(pairs):
    """Terms that hold their closures; where only the closure knows the form, one that says so."""
    terms = []
    for native, closure in pairs:
        term: Term = Term(CLOSURE) if native is None else native
        term.closure = closure
        terms.append(term)
    return terms


@cython.cclass
class Filters:
    """Rows of one block's relations. Serves one thread at a time; :meth:`twin` makes another.

    Parameters
    ----------
    lanes : int
        K.
    entries : float64 array, shape (n, 4)
        Per relation, before its filters: ln rows under back-off, under the product, under the most selective
        filter alone, and the spread.
    weights : float64 array, shape (n, 4, K)
        What each of these counts in each lane.
    highest : float64 array, shape (n,)
        ln rows of the table.
    limits : tuple of float
        The least ln rows; ln rows of a relation of which nothing passes; the width of a bucket, in ln rows.
    filtered : list of (int, list of (Term or None, callable))
        Relations with filters; per conjunct its term, and the closure that knows more values.
    """

    def __init__(self, lanes, entries, weights, highest, limits, filtered):
        self.lanes = lanes
        self.count = len(entries)
        self.filtered = [(relation, _terms(pairs)) for relation, pairs in filtered]
        self.lowest, self.empty, self.width = limits
        self.held = {
            "entries": numpy.array(entries, numpy.float64).reshape(-1),
            "weights": numpy.array(weights, numpy.float64).reshape(-1),
            "highest": numpy.array(highest, numpy.float64),
            # The best guess alone, for those who ask for the region and nothing else: few lines of cache.
            "guessing": numpy.array(weights, numpy.float64).reshape(self.count, 4, lanes)[:, :, 0].ravel(),
        }
        self._own()

    @property
    def relations(self):
        """Number of relations n."""
        return self.count

    def twin(self):
        """The same for another thread: what is constant is shared."""
        other = Filters.__new__(Filters)
        other._share(self)
        return other

    def _share(self, other: Filters):
        self.lanes = other.lanes
        self.count = other.count
        self.filtered = other.filtered
        self.lowest = other.lowest
        self.empty = other.empty
        self.width = other.width
        self.held = dict(other.held)
        self._own()

    def _own(self):
        self.entries = doubles(self.held["entries"])
        self.weights = doubles(self.held["weights"])
        self.highest = doubles(self.held["highest"])
        self.guessing = doubles(self.held["guessing"])
        self.held["found"] = numpy.zeros(4 * self.count + 1)
        self.held["logs"] = numpy.zeros(max([len(terms) for _, terms in self.filtered], default=0) + 1)
        self.found = doubles(self.held["found"])
        self.logs = doubles(self.held["logs"])
        # Relations without filters keep their step for good.
        still: bytearray = bytearray(self.count + 1)
        i: cython.longlong
        for i in range(4 * self.count):
            self.found[i] = self.entries[i]
        for i in range(self.count):
            still[i] = self._step(self._guess(i))
        self.held["region"] = still
        self.region = still if cython.compiled else memoryview(still)[: self.count]
        if not cython.compiled:
            self.tops = [0] * 64

    def rows(self, literals, values, added, out):
        """ln rows per relation and lane, between a floor and the table's rows.

        Parameters
        ----------
        literals : tuple of (str or tuple of str), or None
            Source texts by slot; None: ``values`` alone are known.
        values : object
            Whose ``bound()`` gives the values by slot that closures read.
        added : float64 array, shape (n, K), or None
            Added to the weighted sums: ln rows of blocks that other blocks read.
        out : float64 array, shape (n, K)
            Written.
        """
        self._rows_at(literals, values, added, doubles(out))

    @cython.cfunc
    def _rows_at(self, literals, values, added, out: cython.p_double):
        """As :meth:`rows`, for Cython callers that hold the address."""
        self._find(literals, values)
        self._spread(added, out)

    @cython.cfunc
    def _find(self, literals, values):
        """What each relation's filters let pass, in four forms that :meth:`_spread` weighs."""
        i: cython.longlong
        if literals is not None and type(literals) is not tuple:
            literals = tuple(literals)
        self.reads = 0 if literals is None else 1
        for i in range(4 * self.count):
            self.found[i] = self.entries[i]
        for relation, terms in self.filtered:
            self._filter(relation, terms, literals, values)

    @cython.cfunc
    def _bucket_at(self, rows: cython.p_double):
        """Region of selectivities: the best guess of each relation's rows, on a logarithmic scale.

        ``rows`` has shape (n, K); one byte per relation is returned.
        """
        i: cython.longlong
        region: bytearray = bytearray(self.count)
        for i in range(self.count):
            region[i] = self._step(rows[i * self.lanes])
        return bytes(region)

    @cython.cfunc
    def _region_of(self, found: Fingerprint, values, slots: cython.Py_ssize_t):
        """What :meth:`_bucket_at` says after :meth:`_rows_at`, nothing being added, from one lane.

        Literals are read where they stand in the text. None if there are not as many as ``slots``. Relations
        without filters are where they always are: nothing of theirs is read.
        """
        i: cython.longlong
        at: cython.longlong
        size: cython.Py_ssize_t = 0
        literals: tuple = None
        count: cython.Py_ssize_t = found._tops(self.tops, ROOM)
        self.reads = 1
        if count < 0 or type(found.sql) is not str:
            literals = found._texts()
            count = len(literals)
        elif cython.compiled:
            self.data = cython.cast(
                cython.p_uchar,
                PyUnicode_AsUTF8AndSize(found.sql, cython.address(size)),  # noqa: F821
            )
            self.packed = cython.cast(cython.p_int, cython.cast(cython.p_char, found.packed))
        else:
            self.data = found.sql.encode("utf-8")
            self.packed = memoryview(found.packed).cast("i")
        if count != slots:
            return None
        for relation, terms in self.filtered:
            i = relation
            at = 4 * i
            self.found[at] = self.entries[at]
            self.found[at + 1] = self.entries[at + 1]
            self.found[at + 2] = self.entries[at + 2]
            self.found[at + 3] = self.entries[at + 3]
            self._filter(i, terms, literals, values)
            self.region[i] = self._step(self._guess(i))
        return self.region[: self.count] if cython.compiled else bytes(self.region)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _guess(self, i: cython.longlong) -> cython.double:
        """The best guess of a relation's rows, as a logarithm, from what its filters let pass."""
        at: cython.longlong = 4 * i
        value: cython.double = self.empty
        if self.found[at] >= -1e300:
            value = (
                self.found[at] * self.guessing[at]
                + self.found[at + 1] * self.guessing[at + 1]
                + self.found[at + 2] * self.guessing[at + 2]
                + self.found[at + 3] * self.guessing[at + 3]
            )
            value = value if value > self.lowest else self.lowest
            value = value if value < self.highest[i] else self.highest[i]
        return value

    @cython.cfunc
    @cython.exceptval(check=False)
    def _step(self, value: cython.double) -> cython.longlong:
        """A number of rows on the scale of regions, from its logarithm."""
        # ln rows are at most 600, and a bucket is wider than 1; below a row nothing is to be told apart.
        step: cython.longlong = int(value * self.width + 8.5)
        step = step if step > 0 else 0
        return step if step < 255 else 255

    @cython.cfunc
    def _spread(self, added, out_at: cython.p_double):
        i: cython.longlong
        k: cython.longlong
        at: cython.longlong
        lanes: cython.longlong = self.lanes
        value: cython.double
        added_at: cython.p_double = out_at if added is None else doubles(added)
        adds: cython.longlong = 0 if added is None else 1
        for i in range(self.count):
            for k in range(lanes):
                if self.found[4 * i] < -1e300:
                    out_at[i * lanes + k] = self.empty
                    continue
                at = 4 * i * lanes + k
                value = (
                    self.found[4 * i] * self.weights[at]
                    + self.found[4 * i + 1] * self.weights[at + lanes]
                    + self.found[4 * i + 2] * self.weights[at + 2 * lanes]
                    + self.found[4 * i + 3] * self.weights[at + 3 * lanes]
                )
                if adds != 0:
                    value += added_at[i * lanes + k]
                value = value if value > self.lowest else self.lowest
                value = value if value < self.highest[i] else self.highest[i]
                out_at[i * lanes + k] = value

    @cython.cfunc
    def _value(self, domain: cython.int, slot: cython.Py_ssize_t, literals: tuple):
        """A slot's value in a column's domain, None if it is of an unusual form (or a list)."""
        at: cython.int
        if literals is not None:
            return place(domain, literals[slot])
        at = 3 * self.tops[slot]
        if (self.packed[at + 2] & 255) == LIST:
            return None
        return place_at(domain, self.data, self.packed[at], self.packed[at + 1])

    @cython.cfunc
    def _values(self, domain: cython.int, slot: cython.Py_ssize_t, literals: tuple) -> list:
        """The same of each element of a list, or of a slot that is none."""
        at: cython.int
        count: cython.int
        i: cython.int
        if literals is not None:
            listed = literals[slot]
            return [place(domain, each) for each in (listed if type(listed) is tuple else (listed,))]
        at = 3 * self.tops[slot]
        if (self.packed[at + 2] & 255) != LIST:
            return [self._value(domain, slot, None)]
        count = self.packed[at + 2] >> 8
        values = []
        for i in range(count, 0, -1):
            values.append(place_at(domain, self.data, self.packed[at - 3 * i], self.packed[at - 3 * i + 1]))
        return values

    @cython.cfunc
    def _filter(self, relation: cython.longlong, terms: list, literals: tuple, values):
        """Combine a relation's conjuncts by exponential back-off (``planning.selectivity`` says why)."""
        count: cython.longlong = len(terms)
        i: cython.longlong
        at: cython.longlong
        least: cython.double
        backed: cython.double = 0.0
        product: cython.double = 0.0
        weight: cython.double = 1.0
        variance: cython.double = 0.0
        empty: cython.longlong = 0
        term: Term
        for i in range(count):
            term = terms[i]
            if self.reads == 0 or term.kind == A_CLOSURE or self._estimate(term, literals) != 0:
                share, spread = term.closure(values.bound())
                self.share = share
                self.spread = spread
            if self.share <= 0.0:
                empty = 1
                break
            least = log(self.share if self.share > TINY else TINY)
            variance += self.spread * self.spread
            at = i
            while at > 0 and self.logs[at - 1] > least:
                self.logs[at] = self.logs[at - 1]
                at -= 1
            self.logs[at] = least
        if empty != 0:
            self.found[4 * relation] = -1e308
            return
        if count == 0:
            return
        if count == 1:
            self.found[4 * relation] += self.logs[0]
            self.found[4 * relation + 1] += self.logs[0]
            self.found[4 * relation + 2] += self.logs[0]
            self.found[4 * relation + 3] = self.spread
            return
        for i in range(count):
            backed += weight * self.logs[i]
            product += self.logs[i]
            weight *= 0.5
        least = log(TINY)
        product = product if product > least else least
        backed = backed if backed > least else least
        # How the conjuncts depend on each other is not known either: half of what it could matter.
        least = 0.5 * (backed - product)
        self.found[4 * relation] += backed
        self.found[4 * relation + 1] += product
        self.found[4 * relation + 2] += self.logs[0]
        self.found[4 * relation + 3] = sqrt(variance + least * least)

    # -- terms ------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1)
    def _estimate(self, term: Term, literals: tuple) -> cython.int:
        """0: ``share`` and ``spread`` are set; 1: the closure must be asked."""
        if term.kind == A_FIXED:
            self.share = term.share
            self.spread = term.spread
            return 0
        if term.kind == AN_EQUAL:
            fixed = term.fixed
            if term.slot >= 0:
                fixed = self._value(term.column.domain, term.slot, literals)
                if fixed is None:
                    return 1
            return self._equal(term.column, fixed)
        if term.kind == AN_IN:
            return self._in(term, literals)
        if term.kind == A_RANGE:
            return self._range(term, literals)
        if term.kind == A_LIKE:
            fixed = term.fixed
            if term.slot >= 0:
                fixed = self._value(IS_TEXT, term.slot, literals)
                if fixed is None:
                    return 1
            return self._like(term.column, fixed, 1 if term.share > 0.0 else 0)
        if term.kind == A_REST:
            return self._rest(term, literals)
        if term.kind == AN_ANY:
            return self._any(term, literals)
        return self._all(term, literals)

    @cython.cfunc
    @cython.exceptval(-1)
    def _equal(self, column: Column, value) -> cython.int:
        number: cython.double
        outside: cython.int = 0
        share = column.common.get(value)
        if share is not None:
            self.share = share
            self.spread = COMMON
            return 0
        if column.count != 0:
            if column.domain == IS_TEXT:
                if compare(value, column.lowest) < 0 or compare(value, column.highest) > 0:
                    outside = 1
            else:
                number = value
                if not column.bounds_at[0] <= number <= column.bounds_at[column.count - 1]:
                    outside = 1
        self.share = column.outside if outside != 0 else column.each
        self.spread = UNIFORM if outside != 0 else column.each_spread
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _in(self, term: Term, literals: tuple) -> cython.int:
        """The sum over the list's different values."""
        total: cython.double = 0.0
        variance: cython.double = 0.0
        part: cython.double
        seen = set()
        for slot, fixed in term.operands:
            listed: list = [fixed] if slot < 0 else self._values(term.column.domain, slot, literals)
            for value in listed:
                if value is None:
                    return 1
                if value in seen:
                    continue
                seen.add(value)
                self._equal(term.column, value)
                total += self.share
                part = self.spread * self.share
                variance += part * part
        if total <= 0.0:
            self.share = 0.0
            self.spread = 0.0
            return 0
        self.share = total if total < term.column.filled else term.column.filled
        self.spread = sqrt(variance) / total
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _range(self, term: Term, literals: tuple) -> cython.int:
        """All ranges on one column as one interval."""
        column: Column = term.column
        if column.domain == IS_TEXT:
            return self._text_range(term, literals)
        has_low: cython.int = 0
        has_high: cython.int = 0
        low: cython.double = 0.0
        high: cython.double = 0.0
        low_inclusive: cython.int = 1
        high_inclusive: cython.int = 1
        inclusive: cython.int
        value: cython.double
        below: cython.double = 0.0
        for slot, fixed, is_low, includes, shift in term.operands:
            inclusive = includes
            if slot >= 0:
                fixed = self._value(column.domain, slot, literals)
                if fixed is None:
                    return 1
                value = fixed
                if shift:
                    value += shift
            else:
                value = fixed
            if value != value:
                return 1
            if is_low:
                if has_low == 0 or value > low or (value == low and inclusive == 0):
                    has_low = 1
                    low = value
                    low_inclusive = inclusive
            elif has_high == 0 or value < high or (value == high and inclusive == 0):
                has_high = 1
                high = value
                high_inclusive = inclusive
        if column.count == 0:
            self.share = column.filled * (
                UNKNOWN_INTERVAL if has_low != 0 and has_high != 0 else UNKNOWN_RANGE
            )
            self.spread = GUESSED
            return 0
        if has_low != 0 and has_high != 0:
            if low > high or (low == high and (low_inclusive == 0 or high_inclusive == 0)):
                self.share = 0.0
                self.spread = 0.0
                return 0
            if low == high:
                return self._equal(column, low)
        self.share = column.filled if has_high == 0 else column._below(high, high_inclusive)
        if has_low != 0:
            below = column._below(low, 1 - low_inclusive)
        self.share -= below
        self.spread = HISTOGRAM if column.count > 2 else BOUNDS_ONLY
        if self.share < column.least:
            self.share = column.least
            self.spread = UNIFORM
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _text_range(self, term: Term, literals: tuple) -> cython.int:
        """The same for texts, in the order of their characters."""
        column: Column = term.column
        low = None
        high = None
        low_inclusive: cython.int = 1
        high_inclusive: cython.int = 1
        inclusive: cython.int
        below: cython.double = 0.0
        for slot, fixed, is_low, includes, _ in term.operands:
            inclusive = includes
            if slot >= 0:
                fixed = self._value(IS_TEXT, slot, literals)
                if fixed is None:
                    return 1
            if is_low:
                if low is None or fixed > low or (fixed == low and inclusive == 0):
                    low = fixed
                    low_inclusive = inclusive
            elif high is None or fixed < high or (fixed == high and inclusive == 0):
                high = fixed
                high_inclusive = inclusive
        if column.count == 0:
            one_sided: cython.int = 1 if low is None or high is None else 0
            self.share = column.filled * (UNKNOWN_RANGE if one_sided != 0 else UNKNOWN_INTERVAL)
            self.spread = GUESSED
            return 0
        if low is not None and high is not None:
            if low > high or (low == high and (low_inclusive == 0 or high_inclusive == 0)):
                self.share = 0.0
                self.spread = 0.0
                return 0
            if low == high:
                return self._equal(column, low)
        self.share = column.filled if high is None else column._text_below(high, high_inclusive)
        if low is not None:
            below = column._text_below(low, 1 - low_inclusive)
        self.share -= below
        self.spread = HISTOGRAM if column.count > 2 else BOUNDS_ONLY
        if self.share < column.least:
            self.share = column.least
            self.spread = UNIFORM
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _rest(self, term: Term, literals: tuple) -> cython.int:
        """Rows that are not NULL and do not pass."""
        rest: cython.double
        spread: cython.double
        if self._estimate(term.parts[0], literals) != 0:
            return 1
        if self.share <= 0.0:
            self.share = 0.0
            self.spread = 0.0
            return 0
        rest = term.share - self.share
        if rest < TINY:
            self.share = TINY
            self.spread = GUESSED
            return 0
        spread = self.spread * self.share / rest
        self.share = rest
        self.spread = spread if spread < GUESSED else GUESSED
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _any(self, term: Term, literals: tuple) -> cython.int:
        """OR by inclusion and exclusion."""
        none: cython.double = 1.0
        error: cython.double = 0.0
        part: cython.double
        i: cython.longlong
        for i in range(len(term.parts)):
            if self._estimate(term.parts[i], literals) != 0:
                return 1
            none *= 1.0 - (self.share if self.share < 1.0 else 1.0)
            part = self.share * self.spread
            error += part * part
        self.share = 1.0 - none
        if self.share <= TINY:
            self.spread = GUESSED if self.share > 0.0 else 0.0
            self.share = TINY if self.share > 0.0 else 0.0
            return 0
        self.spread = sqrt(error) / self.share
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _all(self, term: Term, literals: tuple) -> cython.int:
        """AND below an OR, by exponential back-off."""
        share: cython.double = 1.0
        variance: cython.double = 0.0
        weight: cython.double = 1.0
        found = []
        for part in term.parts:
            if self._estimate(part, literals) != 0:
                return 1
            found.append((self.share, self.spread))
        found.sort()
        for one, spread in found:
            if one <= 0.0:
                self.share = 0.0
                self.spread = 0.0
                return 0
            share *= pow(one, weight)
            weight *= 0.5
            variance += spread * spread
        self.share = share if share > TINY else TINY
        self.spread = sqrt(variance)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _like(self, column: Column, text: str, fold: cython.int) -> cython.int:
        """As ``Distribution.like``, for patterns without ``_`` and escapes."""
        letters: cython.longlong = 0
        hits: cython.longlong = 0
        guess: cython.double
        spread: cython.double = GUESSED
        common: cython.double = 0.0
        others: cython.longlong
        prefix: str
        if not cython.compiled or "_" in text or "\\" in text:
            return 1
        if fold != 0:
            text = text.lower()
        split: list = text.split("%")
        for piece in split:
            letters += len(piece)
        if len(split) == 1 and fold == 0:
            return self._equal(column, text)
        if letters == 0 and len(split) > 1:
            self.share = column.filled
            self.spread = KNOWN
            return 0
        texts: Packed = column._packed(fold)
        pieces: list = [piece.encode("utf-8", "surrogatepass") for piece in split]
        common = texts._mark(pieces, 0, texts.commons, 1)
        guess = PATTERN_BASE * pow(PATTERN_PER_CHARACTER, letters if letters < 100 else 100)
        guess = guess if guess > PATTERN_LEAST else PATTERN_LEAST
        prefix = split[0]
        if len(prefix) != 0 and fold == 0 and column.count != 0:
            others = letters - len(prefix)
            last: cython.longlong = ord(prefix[len(prefix) - 1])
            following = prefix[: len(prefix) - 1] + chr(last + 1 if last < 0x10FFFF else 0x10FFFF)
            guess = column._text_rest_below(following) - column._text_rest_below(prefix)
            guess = guess if guess > 0.0 else 0.0
            if others != 0:
                spread = PATTERN_BASE * pow(PATTERN_PER_CHARACTER, others if others < 100 else 100)
                guess *= spread if spread > PATTERN_LEAST else PATTERN_LEAST
            guess = guess if guess > column.one else column.one
            spread = HISTOGRAM if others == 0 and column.count > 2 else GUESSED
        else:
            least: cython.double = PATTERN_LEAST if PATTERN_LEAST < column.one else column.one
            guess = guess if guess > least else least
        if column.count >= PATTERN_SAMPLE:
            hits = int(texts._mark(pieces, texts.commons, texts.count, 0))
            guess = (hits + PATTERN_PRIOR * guess) / (column.count + PATTERN_PRIOR)
            if hits != 0 and SAMPLED_PATTERN < spread:
                spread = SAMPLED_PATTERN
        guess = column.rest * (guess if guess < 1.0 else 1.0)
        self.share = common + guess
        self.spread = spread
        if self.share < TINY:
            self.share = TINY
            return 0
        self.spread = (common * COMMON + guess * spread) / self.share
        return 0
