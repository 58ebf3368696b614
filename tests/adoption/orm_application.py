"""An application as others write it with SQLAlchemy's ORM: it knows nothing of godb_fast.

``exercise`` runs all of it and returns what it saw, so that two runs can be compared.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Engine,
    ForeignKey,
    Integer,
    Sequence,
    String,
    bindparam,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)


class Base(DeclarativeBase):
    """The application's tables."""


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(Integer, Sequence("author_ids"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(Integer, Sequence("book_ids"), primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    pages: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")
    reviews: Mapped[list[Review]] = relationship(back_populates="book", order_by="Review.id")


class Review(Base):
    __tablename__ = "review"
    id: Mapped[int] = mapped_column(Integer, Sequence("review_ids"), primary_key=True)
    stars: Mapped[int]
    book_id: Mapped[int] = mapped_column(ForeignKey("book.id"))
    book: Mapped[Book] = relationship(back_populates="reviews")


def fill(engine: Engine, authors: int = 12) -> None:
    """Tables with rows, by the unit of work and by a bulk insert."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            Author(
                name=f"author {number}",
                books=[Book(title=f"title {number}.{book}", pages=50 * book + number) for book in range(4)],
            )
            for number in range(authors)
        )
        session.commit()
    with Session(engine) as session:
        session.execute(
            insert(Review),
            [{"stars": (number * 7) % 5 + 1, "book_id": number % (4 * authors) + 1} for number in range(300)],
        )
        session.commit()


def reading(session: Session, *, streaming: bool = True) -> dict[str, Any]:
    """Every way of loading."""
    seen: dict[str, Any] = {}
    seen["lazy"] = [
        (author.name, [book.title for book in author.books])
        for author in session.scalars(select(Author).order_by(Author.id))
    ]
    session.expire_all()
    for name, option in (("joined", joinedload), ("selectin", selectinload), ("subquery", subqueryload)):
        statement = (
            select(Author)
            .options(option(Author.books).selectinload(Book.reviews))
            .where(Author.id > 3)
            .order_by(Author.id)
        )
        seen[name] = [
            (author.name, [(book.title, [review.stars for review in book.reviews]) for book in author.books])
            for author in session.scalars(statement).unique()
        ]
        session.expire_all()
    seen["streamed"] = [
        (book.id, book.title)
        for book in session.scalars(
            select(Book).order_by(Book.id).execution_options(**({"yield_per": 5} if streaming else {}))
        )
    ]
    best = (
        select(Author.name, func.count(Review.id), func.avg(Review.stars))
        .join(Author.books)
        .join(Book.reviews)
        .where(Review.stars >= bindparam("least"))
        .group_by(Author.name)
        .order_by(Author.name)
    )
    seen["grouped"] = [tuple(row) for row in session.execute(best, {"least": 3})]
    other = aliased(Book)
    pairs = (
        select(Book.title, other.title)
        .join(other, Book.author_id == other.author_id)
        .where(Book.pages < other.pages, Book.author_id.in_([1, 2, 5]))
        .order_by(Book.title, other.title)
    )
    seen["pairs"] = [tuple(row) for row in session.execute(pairs)]
    seen["text"] = session.execute(
        text("SELECT title FROM book WHERE title LIKE '%1.%' AND pages > :pages ORDER BY id"), {"pages": 60}
    ).all()
    seen["driver"] = [
        tuple(row) for row in session.connection().exec_driver_sql("SELECT count(*), 107 AS rest FROM book")
    ]
    seen["one_by_id"] = session.get_one(Book, 7).title
    seen["missing"] = session.get(Book, 700_000)
    partly = session.execute(select(Review.id).order_by(Review.id)).partitions(64)
    seen["partitions"] = [len(part) for part in partly]
    return seen


def writing(engine: Engine) -> dict[str, Any]:
    """Transactions, an error in the midst of one, rollback."""
    seen: dict[str, Any] = {}
    with Session(engine) as session:
        # Not a name: DuckDB cannot update a unique column of a row that others refer to.
        session.get_one(Book, 1).pages = 4321
        session.flush()
        seen["flushed"] = session.scalars(select(Book.pages).where(Book.id == 1)).one()
        session.rollback()
        seen["rolled_back"] = session.scalars(select(Book.pages).where(Book.id == 1)).one()
    with Session(engine) as session:
        changed = session.execute(update(Review).where(Review.stars == 1).values(stars=2))
        seen["updated"] = changed.rowcount
        session.commit()
        seen["sum"] = session.scalar(select(func.sum(Review.stars)))
    with engine.connect() as connection:
        try:
            connection.execute(text("SELECT nothing FROM book"))
        except SQLAlchemyError as error:
            seen["error"] = type(error).__name__
            seen["error_statement"] = error.statement  # type: ignore[attr-defined]
        connection.rollback()
        seen["after_error"] = connection.execute(text("SELECT count(*) FROM book")).scalar()
    return seen


def nested(engine: Engine) -> dict[str, Any]:
    """Savepoints: an error inside is undone, what is around it stays."""
    seen: dict[str, Any] = {}
    with Session(engine) as session:
        session.add(Author(name="outer"))
        session.flush()
        try:
            with session.begin_nested():
                session.add(Author(name="outer"))
                session.flush()
        except IntegrityError as error:
            seen["refused"] = type(error.orig).__name__
        with session.begin_nested():
            session.add(Author(name="inner"))
        try:
            with session.begin_nested():
                session.execute(text("SELECT * FROM no_such_table"))
        except ProgrammingError as error:
            seen["unknown"] = type(error.orig).__name__
        seen["inside"] = sorted(
            session.scalars(select(Author.name).where(Author.name.in_(["outer", "inner"])))
        )
        session.rollback()
        seen["after"] = session.scalars(select(Author.name).where(Author.name == "outer")).all()
    return seen


def exercise(engine: Engine, *, savepoints: bool = True) -> dict[str, Any]:
    """The whole application."""
    fill(engine)
    with Session(engine) as session:
        seen = {"reading": reading(session)}
    seen["writing"] = writing(engine)
    if savepoints:
        seen["nested"] = nested(engine)
    with Session(engine) as session:
        seen["again"] = reading(session)
    return seen


def traced(engine: Engine) -> None:
    """What tracing tools do: a comment in front of each statement, another one each time."""
    count = iter(range(1_000_000))

    def add(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
        return f"/*traceparent='00-{next(count):032x}-01'*/ {statement}", parameters

    event.listen(engine, "before_cursor_execute", add, retval=True)
