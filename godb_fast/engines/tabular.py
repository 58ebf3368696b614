"""Results as data frames and arrow tables, where those packages are installed."""

from __future__ import annotations

from typing import Any

from godb_fast.engines.base import EngineResult
from godb_fast.errors import InvalidInput, MissingDependency


def to_arrow(result: EngineResult) -> Any:
    """A pyarrow Table with the result's columns; the engine's own types where it gives them.

    Raises
    ------
    MissingDependency
        If pyarrow is not installed.
    InvalidInput
        If a column holds values that arrow has no type for.
    """
    if result.conversions is not None:
        return result.conversions.arrow(result)
    pyarrow = import_pyarrow()
    columns = list(zip(*result.rows, strict=True)) if result.rows else [()] * len(result.columns)
    arrays = []
    for name, kind, column in zip(result.columns, result.types, columns, strict=True):
        try:
            arrays.append(pyarrow.array(list(column)))
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            raise InvalidInput(
                f"column {name!r} of type {kind} cannot be made an arrow column: {error}"
            ) from error
    return pyarrow.Table.from_arrays(arrays, names=list(result.columns))


def to_dataframe(result: EngineResult) -> Any:
    """A pandas DataFrame with the result's columns; the engine's own types where it gives them.

    Raises
    ------
    MissingDependency
        If pandas is not installed.
    """
    if result.conversions is not None:
        return result.conversions.dataframe(result)
    return dataframe_of_rows(result)


def dataframe_of_rows(result: EngineResult) -> Any:
    """A pandas DataFrame of the rows, with the types that pandas infers."""
    pandas = import_pandas()
    # Built by position: names may repeat.
    frame = pandas.DataFrame.from_records(list(result.rows), columns=range(len(result.columns)))
    frame.columns = list(result.columns)
    return frame


def import_pyarrow() -> Any:
    """The package, or MissingDependency."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependency("arrow tables need pyarrow; pip install pyarrow") from error
    return pyarrow


def import_pandas() -> Any:
    """The package, or MissingDependency."""
    try:
        import pandas
    except ImportError as error:
        raise MissingDependency("fetchdf() needs pandas; pip install pandas") from error
    return pandas
