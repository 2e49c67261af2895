"""Run the benchmarks one after the other: `python -m tests.benchmarks [names...]`.

Their lines are shown as they come, and all tables again at the end.
"""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks._sides import ROOT, STAMP

NAMES = (
    "trainings",
    "batches",
    "overhead",
    "peers",
    "defaults",
    "decisions",
    "growth",
    "studies",
    "pruners",
    "luck",
    "confirm",
    "hints",
)


def run(name: str) -> tuple[list[str], int]:
    """Run one benchmark; return the lines of its tables, and its exit status."""
    print(f"\n# {name}", flush=True)
    command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return [line for line in lines if line.startswith((STAMP, "|"))], process.returncode


def main() -> None:
    """Run what was asked for, and exit with 1 where something failed."""
    names = sys.argv[1:] or NAMES
    if unknown := set(names) - set(NAMES):
        sys.exit(f"No benchmark is called {', '.join(sorted(unknown))}; pass {', '.join(NAMES)}.")
    found = {name: run(name) for name in names}
    for name, (tables, status) in found.items():
        print(f"\n## {name}" if status == 0 else f"\n## {name} failed with {status}")
        print("\n".join(f"\n{line}\n" if line.startswith(STAMP) else line for line in tables))
    sys.exit(any(status for _, status in found.values()))


if __name__ == "__main__":
    main()
