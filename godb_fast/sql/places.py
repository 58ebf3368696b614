"""From nodes of the syntax tree to places among the tokens."""

from __future__ import annotations

from sqlglot import exp

from godb_fast.core import Segments
from godb_fast.sql.clauses import Clauses, Span, conjuncts, on_span, selects
from godb_fast.sql.predicates import flatten
from godb_fast.sql.scopes import CannotPlan, below, first_identifier, start_of
from godb_fast.sql.tokens import Tokens


class Places:
    """Finds the tokens of names, clauses and conjuncts.

    Every method raises :class:`CannotPlan` where the parser and the tokens do not agree.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self._selects = selects(tokens)
        self._claimed: dict[int, exp.Expression] = {}
        self._parts: dict[int, list[exp.Expression]] = {}

    @property
    def selects(self) -> int:
        """How many SELECTs the text has."""
        return len(self._selects)

    def parts(self, node: exp.Expression) -> list[exp.Expression]:
        """A conjunct and everything below it; remembered, because several readers go through it."""
        found = self._parts.get(id(node))
        if found is None:
            found = self._parts[id(node)] = below(node)
        return found

    def columns(self, node: exp.Expression) -> list[exp.Column]:
        """All columns of a conjunct."""
        return [part for part in self.parts(node) if isinstance(part, exp.Column)]

    def has_query(self, node: exp.Expression) -> bool:
        """Whether a conjunct holds a subquery."""
        return self.selects > 1 and any(
            isinstance(part, (exp.Select, exp.SetOperation)) for part in self.parts(node)
        )

    def at(self, offset: int) -> int:
        """Token at an offset that the parser named."""
        token = self.tokens.at_offset.get(offset)
        if token is None:
            raise CannotPlan("a name that the parser places elsewhere")
        return token

    def token(self, identifier: exp.Expression) -> int:
        """Token of an identifier."""
        offset = start_of(identifier)
        if offset < 0:
            raise CannotPlan(f"the place of {identifier.name} is not known")
        return self.at(offset)

    def closing(self, opening: int) -> int:
        """The parenthesis that closes the one at ``opening``."""
        if opening >= len(self.tokens) or self.tokens.words[opening] != "(":
            raise CannotPlan("a list of column names whose text cannot be found")
        return self.tokens.partner[opening]

    def clauses(self, node: exp.Expression) -> Clauses | None:
        """The SELECT of the text that a SELECT of the parser is: the innermost around its own names."""
        offset = -1
        stack = [node]
        while stack and offset < 0:
            part = stack.pop()
            if part is not node and isinstance(part, (exp.Select, exp.SetOperation, exp.With)):
                continue
            if isinstance(part, exp.Identifier):
                offset = start_of(part)
            stack.extend(part.iter_expressions())
        token = self.tokens.at_offset.get(offset)
        if token is None:
            return None
        best: Clauses | None = None
        for clauses in self._selects:
            if clauses.select < token < clauses.end and (best is None or clauses.select > best.select):
                best = clauses
        if best is not None and self._claimed.setdefault(best.select, node) is not node:
            # A query without a SELECT of its own (DuckDB's FROM t) inside of another.
            return None
        return best

    def check_from(self, clauses: Clauses | None, spans: list[Span]) -> Clauses:
        """The clauses, if a FROM clause holds all the given relations."""
        if clauses is None or clauses.origin < 0:
            raise CannotPlan("a FROM clause whose text cannot be found")
        end = clauses.where if clauses.where >= 0 else clauses.body_end
        if not all(clauses.origin < start and stop <= end for start, stop in spans):
            raise CannotPlan("a relation that does not stand in the FROM clause")
        return clauses

    def where(self, node: exp.Expression, clauses: Clauses | None) -> list[tuple[exp.Expression, Span]]:
        """Conjuncts of a WHERE clause with their tokens."""
        if clauses is None or clauses.where < 0:
            raise CannotPlan("a WHERE clause whose text cannot be found")
        return self._paired(node, (clauses.where + 1, clauses.body_end))

    def on(self, node: exp.Expression) -> list[tuple[exp.Expression, Span]]:
        """Conjuncts of an ON clause with their tokens; none for ON TRUE."""
        if isinstance(node, exp.Boolean) and node.this:
            return []
        offset = first_identifier(node)
        span = on_span(self.tokens, self.at(offset)) if offset >= 0 else None
        if span is None:
            raise CannotPlan("an ON clause without columns")
        return self._paired(node, span)

    def _paired(self, node: exp.Expression, span: Span) -> list[tuple[exp.Expression, Span]]:
        nodes, spans = flatten(node, exp.And), conjuncts(self.tokens, span)
        if len(nodes) != len(spans) or not all(map(self._matches, nodes, spans)):
            raise CannotPlan("a condition whose text cannot be told apart from its neighbours")
        return list(zip(nodes, spans, strict=True))

    def _matches(self, node: exp.Expression, span: Span) -> bool:
        """Whether all names and literals of a node stand within a span."""
        start, end = span
        for part in self.parts(node):
            if isinstance(part, exp.Identifier):
                offset = start_of(part)
                if offset >= 0 and not start <= self.tokens.at_offset.get(offset, -1) < end:
                    return False
            elif isinstance(part, exp.Literal):
                slot = self.tokens.stand_ins.get(part.name)
                if slot is not None and slot not in self.tokens.slots[start:end]:
                    return False
        return True

    def star(self, entry: exp.Expression, clauses: Clauses) -> int:
        """Token of a ``*`` of the SELECT list."""
        offset = start_of(entry)
        if offset >= 0:
            return self.at(offset)
        # Parsers that do not say where a star stands: it is found if it is the only one of its level.
        level = self.tokens.depth[clauses.select]
        stars = [
            number
            for number in range(clauses.select + 1, clauses.origin)
            if self.tokens.words[number] == "*"
            and self.tokens.depth[number] == level
            and self.tokens.words[number - 1] in ("select", ",", "distinct", "all")
        ]
        if len(stars) != 1:
            raise CannotPlan("a star whose place cannot be told")
        return stars[0]


class Writer:
    """Puts text together: tokens with the spaces that they had, everything else with one space.

    A literal always stands apart from words beside it: that of another query of the same template may
    begin or end with a letter (``E'…'``, ``$1``).
    """

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.parts: list[str | int] = []
        self._last = -2
        self._glued = True

    def add(self, text: str) -> None:
        """Text that is not a token of the statement."""
        self._append(text if self._glued or text in (")", ",") else f" {text}")
        self._glued = text.endswith("(")
        self._last = -2

    def add_segments(self, pieces: Segments) -> None:
        """Text with slots, set apart by a space."""
        if not self._glued:
            self._append(" ")
        for piece in pieces:
            if isinstance(piece, str):
                self._append(piece)
            else:
                self.parts.append(piece)
        self._glued = False
        self._last = -2

    def token(self, number: int, changed: str | None = None) -> None:
        """A token, or what takes its place."""
        tokens = self.tokens
        slot = tokens.slots[number]
        text = tokens.texts[number]
        follows = number == self._last + 1
        after_slot = follows and tokens.slots[number - 1] >= 0
        follows_dot = number > 0 and tokens.words[number - 1] == "."
        if slot >= 0 or (changed is not None and not follows_dot):
            spaced = not self._glued
        elif after_slot:
            spaced = text not in (")", ",", "]", ";")
        else:
            spaced = tokens.spaced[number] if follows else not self._glued
        if spaced and self.parts:
            self._append(" ")
        if changed is None and slot >= 0:
            self.parts.append(slot)
        else:
            self._append(text if changed is None else changed)
        self._glued = text in ("(", "[", ".") and changed is None
        self._last = number

    def _append(self, text: str) -> None:
        last = self.parts[-1] if self.parts else 0
        if isinstance(last, str):
            self.parts[-1] = last + text
        else:
            self.parts.append(text)

    def segments(self) -> Segments:
        """What was written."""
        return tuple(self.parts)


def print_tokens(tokens: Tokens, start: int, end: int, changed: dict[int, str]) -> Segments:
    """Tokens as segments, some of them replaced."""
    writer = Writer(tokens)
    for number in range(start, end):
        writer.token(number, changed.get(number))
    return writer.segments()
