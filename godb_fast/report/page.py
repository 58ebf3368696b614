"""The page that a benchmark ends with: Markdown, and HTML that opens anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

import numpy as np

from godb_fast.core.ratio import ratio_text
from godb_fast.evidence import Interval
from godb_fast.report.gain import Gain
from godb_fast.report.plots import Bar, curve_plot, ratios_plot
from godb_fast.report.text import duration, verdict_line

_STYLE: Final = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;"
    "text-align:left}td.n,th.n{text-align:right}svg{max-width:100%;height:auto}"
    "figure{margin:1em 0}figcaption{color:#555;font-size:.9em}"
    ".verdict{font-size:1.3em;font-weight:bold}"
)
#: Queries in the plot of ratios: those that take most.
MOST_BARS: Final = 60


@dataclass
class _Section:
    title: str
    text: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    #: File name, drawing.
    plot: tuple[str, str] | None = None
    #: Below the plot: what it shows.
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Page:
    """A whole page.

    Parameters
    ----------
    database : str
        Where it was measured; must hold no password.
    command : str
        What was typed.
    """

    gain: Gain
    database: str
    command: str
    at: datetime

    @classmethod
    def now(cls, gain: Gain, database: str, command: str) -> Page:
        """A page of this moment."""
        return cls(gain, database, command, datetime.now(UTC))

    def write(self, folder: Path) -> list[Path]:
        """``report.md``, ``report.html`` and the plots; each is replaced as a whole."""
        sections = self._sections()
        files = {"report.md": self._markdown(sections), "report.html": self._html(sections)}
        files.update(section.plot for section in sections if section.plot is not None)
        written = []
        for name, text in files.items():
            partial = folder / f"{name}.partial"
            partial.write_text(text, encoding="utf-8")
            partial.replace(folder / name)
            written.append(folder / name)
        return written

    def markdown(self) -> str:
        """The page as Markdown; the plots are files beside it."""
        return self._markdown(self._sections())

    def html(self) -> str:
        """The page as one file of HTML."""
        return self._html(self._sections())

    # -- content ------------------------------------------------------------------------------------

    def _verdict(self) -> str:
        line = verdict_line(self.gain.summary)
        line = line[0].upper() + line[1:]
        if self.gain.cut:
            line += " (a bound: runs that were cut count as the limit)"
        return line

    def _sections(self) -> list[_Section]:
        found = [self._result(), self._queries(), self._exploration(), self._losses(), self._method()]
        return [section for section in found if section is not None]

    def _result(self) -> _Section:
        gain, summary = self.gain, self.gain.summary
        section = _Section("Result", columns=("figure", "value"))
        if summary.ratios is None or summary.same_ratios is None:
            section.text.append("Nothing was measured.")
            return section
        ratios, same = summary.ratios, summary.same_ratios
        section.rows += [
            ("time under the engine's plans", duration(summary.default_ms)),
            ("time under ours, all planning inside", duration(summary.ours_ms)),
            ("R = ours ÷ engine", _interval(summary.ratio)),
            ("A/A = engine ÷ engine, the noise", _interval(summary.same)),
            (
                "geometric mean of ratios",
                f"{ratio_text(ratios.geometric_mean, 3)}; p50 {ratio_text(ratios.p50)}, "
                f"p95 {ratio_text(ratios.p95)}, p99 {ratio_text(ratios.p99)}",
            ),
            (
                "slower queries",
                f"{ratios.slower_1_1} by more than 1.1 × (A/A {same.slower_1_1}), {ratios.slower_2} by more "
                f"than 2 × (A/A {same.slower_2}); worst {ratio_text(ratios.worst_ratio)} × ({summary.worst})",
            ),
            ("queries", f"{summary.compared} measured, {summary.steered} of them steered"),
            (
                "answers",
                f"{summary.different} DIFFERENT" if summary.different else "the same wherever compared",
            ),
        ]
        if gain.cut:
            limit = gain.comparison.settings.timeout_s
            section.text.append(f"Cut at {limit:g} s under the engine's plan: {', '.join(gain.cut)}.")
        for entry in gain.comparison.queries:
            if entry.outcome != "compared":
                section.text.append(f"Left out: {entry.query.name}: {(entry.problem or '').splitlines()[0]}")
            if entry.difference is not None:
                section.text.append(f"Different answer: {entry.query.name}: {entry.difference}")
        return section

    def _queries(self) -> _Section | None:
        compared = self.gain.comparison.compared
        if not compared:
            return None
        dearest = sorted(compared, key=lambda entry: -entry.median_ms[0])[:MOST_BARS]
        bars: list[Bar] = []
        rows: list[tuple[str, ...]] = []
        for entry in dearest:
            default, ours = entry.median_ms
            same = float(np.median(entry.times_ms["again"])) / default
            bars.append(Bar(entry.query.name, ours / default, same, bool(entry.cut)))
            how = "steered" if entry.steered else "the engine's plan"
            cut = " or more" if "default" in entry.cut else ""
            rows.append(
                (entry.query.name, duration(default) + cut, duration(ours), ratio_text(ours / default), how)
            )
        bars.sort(key=lambda bar: bar.ratio)
        section = _Section(
            "Query by query",
            columns=("query", "engine", "ours", "ours ÷ engine", "plan"),
            rows=rows,
            plot=("ratios.svg", ratios_plot(bars)),
            caption="Medians of each query's runs, the greatest gain first; ratios beyond 1/64 and 8 end "
            "at the edge. What lies no farther from 1 than the dots do may be noise.",
        )
        if len(compared) > len(dearest):
            section.text.append(f"The {len(dearest)} dearest of {len(compared)}.")
        return section

    def _exploration(self) -> _Section:
        gain, found = self.gain, self.gain.exploration
        gap = "" if gain.oracle_gap is None else f", {ratio_text(gain.oracle_gap)} × the best that was seen"
        section = _Section(
            "What was looked for, and what it cost",
            [
                f"{found.spent_s:.0f} s of a budget of {found.budget_s:.0f} s, in {found.runs} trials; "
                f"one run of the statements takes {found.workload_s:.2f} s under the engine's plans and "
                f"about {found.now_s:.2f} s under what was proved{gap}."
            ],
            ("query", "changed plan", "engine", "ratio when proved", "pairs"),
        )
        if found.overspent is not None:
            section.text.append(f"{found.overspent[0].upper()}{found.overspent[1:]}.")
        for entry in found.promoted:
            assert entry.entry is not None
            proof = entry.entry.evidence
            section.rows.append(
                (
                    entry.name,
                    entry.arm or "",
                    duration(entry.default_s * 1e3) + (" or more" if entry.unfinished else ""),
                    f"{ratio_text(proof.ratio)} ({ratio_text(proof.low)} to {ratio_text(proof.high)})",
                    str(proof.pairs),
                )
            )
        if not section.rows:
            section.columns = ()
            section.text.append("Nothing better than the engine's own plans was proved.")
        section.text += [
            f"Refused: {entry.query} under {entry.arm}: {entry.why.splitlines()[0]}"
            for entry in found.refusals
        ]
        if found.workload_s > 0.0:
            oracle = None if gain.oracle_ratio is None else gain.oracle_ratio * found.workload_s
            section.plot = ("curve.svg", curve_plot(gain.curve, oracle))
            section.caption = (
                "Each step down is a better plan that was proved; all that was spent until then counts: "
                "runs, confirmations, and our own time."
            )
        return section

    def _losses(self) -> _Section:
        gain = self.gain
        ledger = sum(entry.lost_s for entry in gain.ledger)
        beyond = [entry.query for entry in gain.slower if entry.beyond]
        section = _Section(
            "What steering lost",
            [
                f"{len(gain.slower)} queries were slower, by {gain.lost_s:.3f} s in all (medians; the engine "
                f"against itself shows how much of that is noise). Steered runs that were stopped and "
                f"discarded cost {ledger:.3f} s."
            ],
        )
        if beyond:
            section.text.append(f"Slower than 1.2 × by more than 50 ms and the noise: {', '.join(beyond)}.")
        return section

    def _method(self) -> _Section:
        comparison = self.gain.comparison
        settings = comparison.settings
        done = "" if not comparison.interrupted else " Interrupted: what was measured until then."
        return _Section(
            "How this was measured",
            [
                f"{comparison.engine} {comparison.engine_version}, {self.database}, "
                f"{self.at.isoformat(timespec='minutes')}.{done}",
                f"After a run that was thrown away, {settings.repetitions} rounds per query: the engine's "
                "plan, the engine's plan again, and ours, in random order. Ours has everything in it: "
                "planning as for literals never seen, checks, and fallbacks. R is the ratio of the sums of "
                "medians, with a 95 % bootstrap interval; an effect inside the noise is called inconclusive.",
                f"Command: {self.command}",
            ],
        )

    # -- form ---------------------------------------------------------------------------------------

    def _title(self) -> str:
        return f"Plans on {self.gain.comparison.engine} {self.gain.comparison.engine_version}, measured"

    def _markdown(self, sections: Sequence[_Section]) -> str:
        parts = [f"# {_plain(self._title())}", f"**{_plain(self._verdict())}**"]
        for section in sections:
            parts.append(f"## {section.title}")
            parts += [_plain(text) for text in section.text]
            if section.plot is not None:
                parts.append(f"![{section.title}]({section.plot[0]})")
                parts.append(f"*{_plain(section.caption)}*")
            if section.columns and section.rows:
                rows = [section.columns, ("---",) * len(section.columns), *section.rows]
                parts.append("\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))
        return "\n\n".join(parts) + "\n"

    def _html(self, sections: Sequence[_Section]) -> str:
        parts = [f"<h1>{escape(self._title())}</h1>", f'<p class="verdict">{escape(self._verdict())}</p>']
        for section in sections:
            parts.append(f"<h2>{escape(section.title)}</h2>")
            parts += [f"<p>{escape(text)}</p>" for text in section.text]
            if section.plot is not None:
                caption = f"<figcaption>{escape(section.caption)}</figcaption>"
                parts.append(f"<figure>{section.plot[1]}{caption}</figure>")
            if section.columns and section.rows:
                parts.append(_html_table(section.columns, section.rows))
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{escape(self._title())}</title><style>{_STYLE}</style></head><body>"
            + "\n".join(parts)
            + "</body></html>\n"
        )


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text.replace("\n", " "))


def _cell(text: str) -> str:
    return text if text == "---" else _plain(text)


def _html_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    numbers = [all(row[place][:1].isdigit() for row in rows) for place in range(len(columns))]

    def line(cells: Sequence[str], tag: str) -> str:
        drawn = "".join(
            f"<{tag}{' class=n' if number else ''}>{escape(cell)}</{tag}>"
            for cell, number in zip(cells, numbers, strict=True)
        )
        return f"<tr>{drawn}</tr>"

    return f"<table>{line(columns, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
