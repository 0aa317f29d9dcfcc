"""Times the start of every command: what `--help` costs, in seconds of CPU.

    python benchmarks/startup.py [--repeats 5]

A row is a process of its own, started so many times in turn with the others; user and system time
count, as on a busy machine the wall clock says little. The stated alternatives: Python alone, and
a command that imports torch and Lightning before it reads its words.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.table import Table

from loco.cli import COMMANDS

ALTERNATIVES = {
    "python, nothing": ["-c", "pass"],
    "python, torch and lightning": ["-c", "import torch, lightning"],
}


def cpu_seconds(words: list[str], folder: str) -> float:
    """User and system time of a process, its children included."""
    process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Runs the comparison and prints it as a table."""
    parser = argparse.ArgumentParser(description="Times the start of every command.")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    rows = {"loco": ["-m", "loco.cli", "--help"]}
    rows |= {f"loco {name}": ["-m", "loco.cli", name, "--help"] for name in COMMANDS}
    rows |= ALTERNATIVES
    times: dict[str, list[float]] = {name: [] for name in rows}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats + 1):
            for name, words in rows.items():
                times[name].append(cpu_seconds(words, folder))

    table = Table(title="--help, seconds of CPU")
    table.add_column("")
    for title in ("min", "median"):
        table.add_column(title, justify="right")
    for name, all_times in times.items():
        seconds = all_times[1:]  # the first round fills the page cache
        table.add_row(name, f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
