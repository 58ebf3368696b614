"""The command lines of the benchmarks: help with examples that parse, exit codes as it says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from benchmarks import common
from benchmarks.common import Options, Report, main


def nothing(options: Options, report: Report) -> None:
    """Measure nothing."""
    report.row("table", figure=1.0)


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main("frontend", nothing, ["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    examples = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) == 2
    for example in examples:
        given = shlex.split(
            example.replace("DIR", str(tmp_path)).replace("frontend.json", str(tmp_path / "f.json"))
        )
        assert given[:3] == ["python", "-m", "benchmarks.frontend"]
        assert main("frontend", nothing, given[3:]) == 0
    for code in ("0", "1", "2", "130"):
        assert f"\n  {code} " in text.partition("exit codes:")[2]
    assert json.loads((tmp_path / "f.json").read_text())


def test_a_broken_floor_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("x", lambda options, report: report.floor("too slow", 2.0, 1.0), []) == 1
    assert "too slow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{tmp}/absent"], "no such folder"),
        (["--json", "{tmp}/no/such.json"], "cannot write"),
        (["--seed", "x"], "invalid int value"),
        (["--fast"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_2_at_once(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(options: Options, report: Report) -> None:
        raise AssertionError("it ran")

    with pytest.raises(SystemExit) as stopped:
        main("x", never, [text.format(tmp=tmp_path) for text in arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: Options, report: Report) -> None:
        raise KeyboardInterrupt

    assert main("x", interrupted, []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_data_folder_comes_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Path | None] = []
    monkeypatch.setenv("GODB_FAST_BENCH_DATA", str(tmp_path))
    assert main("x", lambda options, report: seen.append(options.data), []) == 0
    assert seen == [tmp_path]
    assert common.Options().data is None
