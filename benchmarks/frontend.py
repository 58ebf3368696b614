"""How long the way from text to graph takes: fingerprints, first sights, in ratio to sqlglot.

Fingerprints and parses of all texts take turns, so that nothing is measured on an input that is still warm
from the call before; a text's time is its fastest of all rounds. A first sight is everything from a known
fingerprint to the template's graphs: tokens, sqlglot's parse, name resolution in DuckDB's catalogue,
conditions, constraints, equivalence classes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import Floats, MissingData, Options, Report, main, percentiles
from benchmarks.corpora import Corpus, ceb, demo, job, stack, tpcds, tpch
from godb_fast import backend as backends

#: Times that the issue demands, in microseconds, on a machine like the one that its reference points name.
FINGERPRINT_US = 3.0
FINGERPRINT_TO_PARSE = 1 / 200
FIRST_SIGHT_MS = {"JOB": 5.0, "TPC-DS": 25.0}
FIRST_SIGHT_WORST_MS = 50.0


def fastest(
    arms: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], rounds: int
) -> dict[str, Floats]:
    """Seconds per input of each arm: the fastest of all rounds, the arms taking turns on each input."""
    best = {name: np.full(len(inputs), np.inf) for name in arms}
    clock = time.perf_counter
    for _ in range(rounds):
        for place, value in enumerate(inputs):
            for name, call in arms.items():
                begin = clock()
                call(value)
                taken = clock() - begin
                if taken < best[name][place]:
                    best[name][place] = taken
    return best


def fingerprints(corpus: Corpus, options: Options, report: Report) -> None:
    """Fingerprints against sqlglot's tokens and parse, in one run."""
    import sqlglot

    from godb_fast.sql import fingerprint

    texts = corpus.texts[:: max(1, len(corpus.texts) // (60 if options.quick else 300))]
    rounds = 15 if options.quick else 40
    fast = fastest({"fingerprint": fingerprint, "A/A": fingerprint}, texts, rounds)
    slow = fastest(
        {"parse": lambda text: sqlglot.parse_one(text, dialect="duckdb"), "fingerprint": fingerprint},
        texts,
        2,
    )
    python = fastest({"python": lambda text: fingerprint(text, backend="python")}, texts[:30], 2)["python"]
    micros = fast["fingerprint"] * 1e6
    share = float(np.median(fast["fingerprint"]) / np.median(slow["parse"]))
    p50, p95 = percentiles(micros, 50, 95)
    report.row(
        "fingerprint, µs",
        corpus=corpus.name,
        texts=len(texts),
        bytes=int(np.median([len(text) for text in texts])),
        p50=p50,
        p95=p95,
        worst=float(micros.max()),
        again=float(np.median(fast["A/A"]) * 1e6),
        python=float(np.median(python) * 1e6),
        sqlglot=float(np.median(slow["parse"]) * 1e6),
        sqlglot_over_ours=1 / share,
    )
    report.floor(f"fingerprint ÷ sqlglot's parse, {corpus.name}", share, FINGERPRINT_TO_PARSE)
    if corpus.name == "JOB":
        report.floor("fingerprint of JOB, median µs", p50, FINGERPRINT_US)


def first_sights(corpus: Corpus, options: Options, report: Report) -> None:
    """From a fingerprint to a template with graphs."""
    import sqlglot

    from godb_fast.engines.registry import open_engine
    from godb_fast.sql import fingerprint, parse_template

    seen: dict[int, Any] = {}
    for text in corpus.texts:
        found = fingerprint(text)
        seen.setdefault(found.hash, found)
    templates = list(seen.values())
    templates = templates[:: max(1, len(templates) // (40 if options.quick else 150))]
    connection = corpus.connect()
    schema = open_engine(connection).schema()
    parsed = [parse_template(found, "duckdb", schema) for found in templates]
    taken = fastest(
        {
            "first sight": lambda found: parse_template(found, "duckdb", schema),
            "parse": lambda found: sqlglot.parse_one(found.sql, dialect="duckdb"),
        },
        templates,
        2 if options.quick else 4,
    )
    connection.close()
    millis = taken["first sight"] * 1e3
    p50, p95 = percentiles(millis, 50, 95)
    report.row(
        "first sight of a template, ms",
        corpus=corpus.name,
        templates=len(templates),
        planned=sum(bool(template.plannable) for template in parsed),
        blocks=sum(len(template.blocks) for template in parsed),
        p50=p50,
        p95=p95,
        worst=float(millis.max()),
        sqlglot=float(np.median(taken["parse"]) * 1e3),
    )
    if corpus.name in FIRST_SIGHT_MS:
        report.floor(f"first sight, {corpus.name}, median ms", p50, FIRST_SIGHT_MS[corpus.name])
    report.floor(f"first sight, {corpus.name}, worst ms", float(millis.max()), FIRST_SIGHT_WORST_MS)
    reasons = {block.reason for template in parsed for block in template.blocks if block.reason}
    if reasons:
        report.note(f"{corpus.name}: blocks that keep the engine's plan: {'; '.join(sorted(reasons))}")


def run(options: Options, report: Report) -> None:
    """Time of the SQL front end on published texts, or on the demo's where they are not there."""
    if backends.why_unavailable("cython") is not None:
        report.note("the compiled lexer is absent: fingerprints run as Python, and their floors do not apply")
    for read in (job, ceb, stack, tpch, tpcds, demo):
        try:
            corpus = read(options)
        except MissingData as problem:
            report.note(f"{read.__name__}: skipped, {problem}")
            continue
        fingerprints(corpus, options, report)
        first_sights(corpus, options, report)


if __name__ == "__main__":
    sys.exit(main("frontend", run))
