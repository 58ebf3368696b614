"""A progress bar on stderr, only where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

#: What is being done, and the share that is done (0 to 1).
Report = Callable[[str, float], None]


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show progress while the body runs; what it yields takes what is done now and the share done."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(title, total=1.0)
        yield lambda what, share: bars.update(task, description=f"{title}: {what}", completed=share)
