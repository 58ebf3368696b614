"""godb-fast bench: explores, measures, and leaves a page that opens anywhere."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest

from godb_fast.cli import main
from godb_fast.report import comparison
from godb_fast.report.plots import Bar, curve_plot, ratios_plot

SQL = """
-- name: pairs <of> n
SELECT a.n, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.n ORDER BY a.n;
-- name: all
SELECT count(*) FROM a JOIN b ON a.k = b.k;
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(2000) r(i)")
    (tmp_path / "q.sql").write_text(SQL)
    return tmp_path


def command(*more: str) -> list[str]:
    return ["bench", "shop.duckdb", "q.sql", "--budget", "0.5s", "--repetitions", "2", "--out", "page", *more]


def runs(shop: Path) -> list[dict[str, str]]:
    with (shop / "page" / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_stands_alone_and_says_what_was_measured(shop, capsys):
    assert main(command("--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((shop / "page" / "result.json").read_text())
    assert [row["arm"] for row in printed["gain"]["arms"]] == ["ours", "again"]
    html = (shop / "page" / "report.html").read_text()
    assert "<script" not in html
    assert not re.findall(r"(?:src|href)=", html)
    assert "pairs &lt;of&gt; n" in html
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    markdown = (shop / "page" / "report.md").read_text()
    assert "A/A = engine ÷ engine" in markdown
    for plot in re.findall(r"!\[[^]]*\]\(([^)]*)\)", markdown):
        ElementTree.parse(shop / "page" / plot)
    assert len(runs(shop)) == 2 * 2 * 3
    assert {path.name for path in (shop / "page").iterdir()} == {
        "report.html", "report.md", "runs.csv", "result.json", "ratios.svg", "curve.svg",
    }  # fmt: skip


def test_after_ctrl_c_it_goes_on_where_it_was(shop, capsys, monkeypatch):
    measure = comparison._Measuring.measure
    begun = []

    def interrupted(self, order):
        begun.append(self)
        if len(begun) == 2:
            raise KeyboardInterrupt
        measure(self, order)

    with monkeypatch.context() as patched:
        patched.setattr(comparison._Measuring, "measure", interrupted)
        assert main(command()) == 130
    assert "--resume" in capsys.readouterr().err
    assert "Interrupted" in (shop / "page" / "report.md").read_text()
    first = runs(shop)
    assert len(first) == 6
    assert main(command("--resume")) == 0
    assert runs(shop)[:6] == first
    assert len(runs(shop)) == 12
    assert "Interrupted" not in (shop / "page" / "report.md").read_text()
    # Runs of other statements are not taken for these.
    (shop / "q.sql").write_text(SQL.replace("ORDER BY a.n", "ORDER BY a.n DESC"))
    assert main(command("--resume")) == 0
    assert len(runs(shop)) == 24


def test_failures_and_wrong_use_have_their_codes(shop, capsys):
    (shop / "q.sql").write_text(SQL + "-- name: wrong\nSELECT nothing FROM a;")
    assert main(command()) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed ")]
    assert "wrong" in line
    # All of what the engine says.
    assert "LINE 1" in line
    assert main([*command()[:-1], "shop.duckdb/page"]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main(command("--budget", "plenty")) == 2
    assert main(command("--resume", "--store", "off")) == 2


def test_plots_are_whole_at_the_edges():
    for drawing in (
        curve_plot([(0.0, 1.0)]),
        curve_plot([(0.0, 0.0), (0.0, 0.0)], 0.0),
        ratios_plot([]),
        ratios_plot([Bar("<&>" * 20, 1e-9, 1.0, True), Bar("slow", 1e9, 5e-324)]),
    ):
        assert "nan" not in drawing
        ElementTree.fromstring(drawing)
