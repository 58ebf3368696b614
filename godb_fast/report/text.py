"""Prints a comparison for people: with colour at a terminal, plain anywhere else."""

from __future__ import annotations

import shutil
from typing import IO, TYPE_CHECKING, Final

from godb_fast.core import Decision
from godb_fast.core.ratio import ratio_text
from godb_fast.evidence import Interval, Verdict, judge
from godb_fast.report.comparison import Comparison, QueryRuns
from godb_fast.report.summary import Summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Width of tables where there is no terminal to ask.
PLAIN_WIDTH: Final = 118
#: Plans drawn: those that saved and those that lost most.
DRAWN: Final = 3
_COLOURS: Final = {
    Verdict.GAIN: "green",
    Verdict.WORSE: "red",
    Verdict.NO_GAIN: "yellow",
    Verdict.INCONCLUSIVE: "yellow",
}


def console(stream: IO[str]) -> Console:
    """A console on a stream."""
    from rich.console import Console

    terminal = stream.isatty()
    width = shutil.get_terminal_size((PLAIN_WIDTH, 40)).columns if terminal else PLAIN_WIDTH
    return Console(file=stream, width=max(width, 60), highlight=False, markup=False, emoji=False)


def duration(milliseconds: float) -> str:
    """Milliseconds for people."""
    if milliseconds >= 10_000:
        return f"{milliseconds / 1e3:,.1f} s"
    if milliseconds >= 0.1:
        return f"{milliseconds:,.1f} ms"
    return f"{milliseconds * 1e3:,.1f} µs"


def render(comparison: Comparison, summary: Summary, out: Console) -> None:
    """The whole report."""
    if summary.compared:
        _templates(summary, out)
        _plans(comparison, out)
    _left_alone(summary, comparison.settings.mode, out)
    _problems(comparison, out)
    _figures(comparison, summary, out)


def _table(out: Console, title: str, *columns: tuple[str, bool]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if out.is_terminal else box.ASCII2,
        show_edge=False,
        pad_edge=False,
    )
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def _templates(summary: Summary, out: Console) -> None:
    table = _table(
        out,
        "Time per template (sums of medians, ours with all planning)",
        ("template", False),
        ("queries", True),
        ("steered", True),
        ("engine", True),
        ("ours", True),
        ("ours / engine", True),
        ("worst query", True),
    )
    for row in summary.templates:
        style = "green" if row.ratio < 0.9 else "red" if row.ratio > 1.1 else ""
        table.add_row(
            row.template,
            str(row.queries),
            str(row.steered),
            duration(row.default_ms),
            duration(row.ours_ms),
            ratio_text(row.ratio),
            ratio_text(row.worst_ratio),
            style=style if row.steered else "",
        )
    out.print(table)
    out.print()


def _middle_ms(entry: QueryRuns, arm: str) -> float:
    times = sorted(entry.times_ms[arm])
    return times[len(times) // 2]


def _saved_ms(entry: QueryRuns) -> float:
    return _middle_ms(entry, "default") - _middle_ms(entry, "ours")


def _plans(comparison: Comparison, out: Console) -> None:
    """The steered plans that saved most, and the one that lost most."""
    steered = sorted((entry for entry in comparison.compared if entry.steered), key=_saved_ms, reverse=True)
    if not steered:
        return
    shown = [entry for entry in steered[:DRAWN] if _saved_ms(entry) > 0]
    if _saved_ms(steered[-1]) < 0 and steered[-1] not in shown:
        shown.append(steered[-1])
    out.print("Plans that changed most", style="bold")
    for entry in shown:
        saved = _saved_ms(entry)
        what = f"{duration(saved)} saved" if saved > 0 else f"{duration(-saved)} lost"
        out.print(f"\n{entry.query.name}: {what} of {duration(_middle_ms(entry, 'default'))}")
        if entry.decision is not None:
            for block, default, ours in changed_trees(entry.decision):
                where = f" (block {block})" if block else ""
                _side_by_side(out, f"engine{where}", default, f"ours{where}", ours)
    out.print()


def changed_trees(decision: Decision) -> list[tuple[int, str, str]]:
    """Per steered block: its number, the engine's join tree and ours, drawn with our estimates."""
    blocks: dict[int, dict[str, str]] = {}
    for candidate in decision.candidates:
        drawn = blocks.setdefault(candidate.block, {})
        if candidate.chosen:
            drawn["ours"] = candidate.plan.draw()
        elif "engine" in candidate.name or "default" in candidate.name:
            drawn["default"] = candidate.plan.draw()
    return [
        (block, drawn.get("default", "(not known)"), drawn["ours"])
        for block, drawn in sorted(blocks.items())
        if "ours" in drawn and drawn.get("default") != drawn["ours"]
    ]


def _side_by_side(out: Console, left_title: str, left: str, right_title: str, right: str) -> None:
    """Two drawings beside each other where they fit, else under each other."""
    first, second = left.splitlines(), right.splitlines()
    width = max(len(line) for line in [left_title, *first]) + 3
    if width + max(len(line) for line in [right_title, *second]) + 2 <= out.width:
        rows = max(len(first), len(second))
        out.print(f"  {left_title:<{width}}{right_title}", style="bold")
        for number in range(rows):
            one = first[number] if number < len(first) else ""
            other = second[number] if number < len(second) else ""
            out.print(f"  {one:<{width}}{other}".rstrip(), soft_wrap=True)
        return
    for title, lines in ((left_title, first), (right_title, second)):
        out.print(f"  {title}", style="bold")
        for line in lines:
            out.print(f"  {line}", soft_wrap=True)


def _left_alone(summary: Summary, mode: str, out: Console) -> None:
    if not summary.reasons or mode not in ("advise", "steer"):
        return
    title = "Why queries kept the engine's plan" if mode == "steer" else "What would be decided"
    table = _table(out, title, ("queries", True), ("reason", False))
    for reason, count in summary.reasons[:12]:
        table.add_row(str(count), reason)
    rest = sum(count for _, count in summary.reasons[12:])
    if rest:
        table.add_row(str(rest), "other reasons (--json lists them)")
    out.print(table)
    out.print()


def _problems(comparison: Comparison, out: Console) -> None:
    for entry in comparison.queries:
        name = entry.query.name
        if entry.difference is not None:
            out.print(f"DIFFERENT ANSWER  {name}: {entry.difference}", style="bold red", soft_wrap=True)
        elif entry.unstable:
            out.print(
                f"unstable  {name}: the engine's own plan gives other rows from run to run", soft_wrap=True
            )
        if entry.outcome == "censored":
            ours = f"; ours took {duration(entry.censored_ours_ms)}" if entry.censored_ours_ms else ""
            out.print(f"cut off  {name}: {entry.problem}{ours} (not in the ratios)", soft_wrap=True)
        elif entry.outcome == "failed":
            out.print(f"failed  {name}: {entry.problem}", style="red", soft_wrap=True)
        elif entry.outcome == "left alone":
            out.print(f"left alone  {name}: {entry.problem}", soft_wrap=True)


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval)


def _figures(comparison: Comparison, summary: Summary, out: Console) -> None:
    table = _table(out, "Result", ("figure", False), ("value", False))

    def row(name: str, value: str, style: str = "") -> None:
        table.add_row(name, value, style=style)

    rounds = comparison.settings.repetitions
    row(
        "engine",
        f"{comparison.engine} {comparison.engine_version}; {rounds} interleaved rounds, "
        f"{duration(comparison.seconds * 1e3)} in all",
    )
    row("queries", _counts(summary))
    if summary.ratios is not None and summary.same_ratios is not None:
        ratios, noise = summary.ratios, summary.same_ratios
        row("total, engine", duration(summary.default_ms))
        row("total, ours", f"{duration(summary.ours_ms)} with all planning")
        row("R = ours / engine", f"{_interval(summary.ratio)}  95 % bootstrap interval")
        row("A/A = engine / engine", f"{_interval(summary.same)}  the noise")
        if summary.steered and summary.steered < summary.compared:
            row("R of the steered queries", _interval(summary.steered_ratio))
        if summary.cached_ratio is not None:
            cached = ratio_text(summary.cached_ratio, 3)
            row("R with decisions from memory", f"{cached}  as for texts that repeat")
        if summary.one_pass_ratio is not None:
            once = ratio_text(summary.one_pass_ratio, 3)
            row("R of a first pass", f"{once}  first sights and discarded runs charged")
        row(
            "geometric mean of ratios",
            f"{ratio_text(ratios.geometric_mean, 3)}  (p50 {ratio_text(ratios.p50)}, "
            f"p95 {ratio_text(ratios.p95)}, p99 {ratio_text(ratios.p99)})",
        )
        row(
            "slower queries",
            f"{ratios.slower_1_1} by more than 1.1 × (A/A {noise.slower_1_1}), "
            f"{ratios.slower_2} by more than 2 × (A/A {noise.slower_2}); "
            f"worst {ratio_text(ratios.worst_ratio)} × ({summary.worst})",
        )
        for name, label in (("default", "engine"), ("ours", "ours")):
            shares = summary.latency_ms[name].items()
            row(f"latency, {label}", ", ".join(f"{share} {duration(value)}" for share, value in shares))
        if summary.planning_us:
            row(
                "our planning, known template",
                ", ".join(f"{share} {duration(value / 1e3)}" for share, value in summary.planning_us.items()),
            )
            row(
                "our planning, first sight",
                f"{duration(summary.first_sight_ms)} for all {summary.compared} queries, "
                f"{duration(summary.wasted_ms)} in discarded runs",
            )
        if summary.steered:
            row(
                "obedience",
                f"{summary.obeyed} obeyed, {summary.unverified} cannot be told, "
                f"{summary.disobeyed} disobeyed and refused",
            )
        same = summary.compared - summary.different - summary.unstable
        row(
            "answers",
            f"{same} of {summary.compared} the same"
            + (f", {summary.different} DIFFERENT" if summary.different else "")
            + (f", {summary.unstable} unstable by themselves" if summary.unstable else ""),
            "bold red" if summary.different else "",
        )
    out.print(table)
    out.print()
    mode = comparison.settings.mode
    if mode == "steer" or summary.ratio is None:
        out.print(verdict_line(summary), style=f"bold {_COLOURS[summary.verdict]}", soft_wrap=True)
    else:
        out.print(
            f"nothing is steered in mode {mode}: R {ratio_text(summary.ratio.estimate, 3)} is what it costs; "
            "--mode steer measures what steering gains",
            style="bold",
            soft_wrap=True,
        )
    if comparison.interrupted:
        out.print("interrupted: these figures cover what was measured until then", style="yellow")


def _counts(summary: Summary) -> str:
    parts = [f"{summary.compared} compared", f"{summary.steered} steered"]
    for count, name in (
        (summary.fell_back, "fell back"),
        (summary.censored, "cut off"),
        (summary.failed, "failed"),
        (summary.left_alone, "left alone"),
    ):
        if count:
            parts.append(f"{count} {name}")
    return ", ".join(parts)


def verdict_line(summary: Summary) -> str:
    """The verdict in a sentence."""
    if summary.ratio is None:
        return "nothing was measured"
    ratio = summary.ratio.estimate
    if summary.verdict is Verdict.GAIN:
        return f"gain: ours takes {ratio_text(ratio)} of the engine's time"
    if summary.verdict is Verdict.WORSE:
        return f"worse: ours takes {ratio_text(ratio)} of the engine's time"
    if summary.verdict is Verdict.NO_GAIN:
        if summary.steered:
            return f"no gain here: the engine's plans are as good (R {ratio_text(ratio, 3)})"
        looking = f"looking for better ones is in R {ratio_text(ratio, 3)}"
        return f"no gain here: the engine's plans are kept, and {looking}"
    steered = summary.steered_ratio
    if steered is not None and summary.same is not None and judge(steered, summary.same) is Verdict.GAIN:
        return (
            f"inconclusive for queries like these (R {ratio_text(ratio, 3)}), as few of them are steered; "
            f"the {summary.steered} that are take {ratio_text(steered.estimate)} of the engine's time"
        )
    return (
        "inconclusive: the effect lies inside the noise; more --repetitions or a quieter machine would tell"
    )
