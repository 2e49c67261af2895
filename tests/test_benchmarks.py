"""The scripts of the benchmarks, which take too long to be run here, are told of."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "benchmarks"


def test_each_benchmark_is_told_of():
    """The guide's table says what each one measures."""
    table, _, _ = (FOLDER / "README.md").read_text().partition("\n## ")
    told = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)
    runnable = [
        file.stem
        for file in FOLDER.glob("[!_]*.py")
        if 'if __name__ == "__main__":' in file.read_text()
    ]
    assert sorted(told) == sorted(runnable)
