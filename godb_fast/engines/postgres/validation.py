"""Whether a steered statement was parsed under the schema of its decision, asked in its own round trip.

A decision rests on an epoch: on what names meant, on columns, keys, views and functions, and on the settings
and the role that results depend on. Asking for the epoch *before* a statement costs a round trip, and what is
committed between the two goes unnoticed. So it is asked *behind* the statement, in the same pipeline:
settings, statement, epoch, environment. Why that is enough:

- An epoch is a hash of the versions of catalogue rows, each with its place and the transaction that wrote it.
  What was committed since can be undone only by another version, so an epoch that was left never comes back.
  The decision's epoch was true when it was made; if it is still true behind the statement, it was so all the
  time between, and so when the statement was parsed.
- Each statement of a READ COMMITTED transaction takes a new snapshot, later than that with which the
  statement before it was parsed: whatever that one saw of the catalogue, this one sees too. A statement that
  waited for somebody's ALTER TABLE is parsed after it, and the epoch behind it is another.
- A change in between may also come too late to matter (a table that shadows another, created while the
  statement runs). Then a good result is discarded: that costs time and nothing else.
- The pipeline is one transaction of ours, or stands in the caller's: the locks that parsing took are held to
  its end, and nobody changes the statement's own tables in the midst of it.
- search_path, role and settings change only by statements of this connection, of which there is none in
  between; so they are behind the statement what they were before it.
- What the caller's own transaction changed and rolls back does return to an earlier epoch; that takes
  statements of this connection too.

Under REPEATABLE READ and SERIALIZABLE the epoch is as of the transaction's snapshot, while PostgreSQL always
parses with the newest catalogue. In a transaction of ours another look follows then, in a transaction of its
own and so of a later snapshot: a second round trip. In a caller's transaction there is no later snapshot:
there, what others change after it began is not noticed before it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from godb_fast.errors import SchemaChanged

if TYPE_CHECKING:
    from godb_fast.engines.postgres.server import Server


class Validation:
    """Of one statement that was decided on at an epoch, in the environment that the engine has now.

    Parameters
    ----------
    expected : str
        The decision's epoch.

    Attributes
    ----------
    questions : tuple of str
        What to ask behind the statement, within its transaction.
    """

    def __init__(self, engine: Server, expected: str) -> None:
        self._engine = engine
        self._expected = expected
        self._environment = engine.environment()
        self.questions = engine.questions()

    def judge(self, answers: Sequence[list[tuple[Any, ...]]], *, inside: bool) -> None:
        """Take the answers, after the statement's transaction or within the caller's (``inside``).

        Raises
        ------
        SchemaChanged
            If the statement may have been parsed under another schema.
        EngineError
            If another look is needed and fails.
        """
        if not self.holds(answers, inside=inside):
            self.look()

    def holds(self, answers: Sequence[list[tuple[Any, ...]]], *, inside: bool) -> bool:
        """As :meth:`judge`, but where it takes another look (:meth:`look`), False."""
        engine = self._engine
        engine.further_looks = 0
        epoch = engine.answered(answers)
        if engine.environment() != self._environment:
            raise SchemaChanged("the environment is not the one of the decision")
        looks_anew = answers[0][0][4]
        if epoch is None or not (inside or looks_anew):
            return False
        self._compare(epoch)
        return True

    def look(self) -> None:
        """Ask once more, in a round trip of its own; raises as :meth:`judge` does."""
        epoch = self._engine.schema_epoch()
        self._engine.further_looks = 1
        self._compare(epoch)

    def _compare(self, epoch: str) -> None:
        if epoch != self._expected:
            raise SchemaChanged("the schema changed since the decision")
