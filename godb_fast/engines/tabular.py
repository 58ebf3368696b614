"""Results as data frames and arrow tables, where those packages are installed."""

from __future__ import annotations

from typing import Any

from godb_fast.engines.base import EngineResult
from godb_fast.errors import MissingDependency


def to_arrow(result: EngineResult) -> Any:
    """A pyarrow Table with the result's columns; the engine's own types where it gave a table.

    Raises
    ------
    MissingDependency
        If pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependency("arrow() needs pyarrow; pip install pyarrow") from error
    columns = list(zip(*result.rows, strict=True)) if result.rows else [()] * len(result.columns)
    arrays = [pyarrow.array(list(column)) for column in columns]
    return pyarrow.Table.from_arrays(arrays, names=list(result.columns))


def to_dataframe(result: EngineResult) -> Any:
    """A pandas DataFrame with the result's columns.

    Raises
    ------
    MissingDependency
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingDependency("fetchdf() needs pandas; pip install pandas") from error
    # Built by position: names may repeat.
    frame = pandas.DataFrame.from_records(result.rows, columns=range(len(result.columns)))
    frame.columns = list(result.columns)
    return frame
