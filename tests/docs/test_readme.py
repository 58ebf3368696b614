"""The README's Python examples run as they stand, and its tables tell the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(number: int, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", EXAMPLES[number]],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_first_two_blocks_are_install_and_test() -> None:
    assert "pip install" in COMMANDS[0]
    assert "godb-fast demo" in COMMANDS[0]
    assert "[test]" in COMMANDS[1]
    assert "pytest" in COMMANDS[1]


def test_every_command_in_the_table_exists() -> None:
    named = set(re.findall(r"^\| `godb-fast (\w+)", README, flags=re.MULTILINE))
    assert named >= {"demo", "run", "explain", "info"}
    for command in sorted(named):
        result = subprocess.run(
            [sys.executable, "-m", "godb_fast", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "example" in result.stdout.lower()


def test_floors_in_the_picture_are_the_ones_that_are_checked() -> None:
    """Each floor of the README's picture is a layer of the import contract, in the same order."""
    import tomllib

    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [
        frozenset(name.strip().removeprefix("godb_fast.") for name in layer.split("|"))
        for layer in contract["contracts"][0]["layers"]
    ]
    picture = README.split("`lint-imports` holds it.")[1].split("```")[1].strip().splitlines()
    drawn = [frozenset(name.strip() for name in line.split("  ")[0].split("·")) for line in picture]
    positions = []
    for floor in drawn:
        matching = [number for number, layer in enumerate(layers) if floor <= layer]
        assert matching, f"{set(floor)} is no floor of the contract"
        positions.append(matching[0])
    assert positions == sorted(positions)
