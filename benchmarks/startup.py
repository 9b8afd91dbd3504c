"""Start-up of the commands against the bare import of their libraries, alternating in one run.

    python benchmarks/startup.py [--runs 20]

Prints the median wall time of each command and its ratio to `python -c "import typer, rich, pydantic,
yaml"`, taken in turn with it so that a drifting machine drifts for both. Run it with the environment's
own python: it starts the `moe-plan` beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
BASE = [sys.executable, "-c", "import typer, rich, pydantic, yaml"]
COMMANDS = {
    "moe-plan --help": ([str(BIN / "moe-plan"), "--help"], 0.5),
    "moe-plan compare (3 models)": (
        [str(BIN / "moe-plan"), "compare", "mixtral-8x7b", "deepseek-v3", "llama-4-maverick"],
        1.25,
    ),
    "moe-plan compare --format json": (
        [
            str(BIN / "moe-plan"),
            "compare",
            "mixtral-8x7b",
            "deepseek-v3",
            "llama-4-maverick",
            "--format",
            "json",
        ],
        1.25,
    ),
    "moe-plan models": ([str(BIN / "moe-plan"), "models"], None),
    "python -c pass": ([sys.executable, "-c", "pass"], None),
}


def main() -> None:
    """Time every command in turn with the base."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="counted runs of each command")
    runs = parser.parse_args().runs
    print(f"{'command':34} {'median':>9} {'base':>9} {'ratio':>7}  target")
    for name, (command, target) in COMMANDS.items():
        ours, base = _alternate(command, runs)
        ratio = ours / base
        goal = "" if target is None else f"at most {target}"
        print(f"{name:34} {ours * 1e3:6.1f} ms {base * 1e3:6.1f} ms {ratio:7.2f}  {goal}")


def _alternate(command: list[str], runs: int) -> tuple[float, float]:
    """Median seconds of `command` and of the base over `runs` pairs, after one uncounted pair."""
    pairs = [(_seconds(command), _seconds(BASE)) for _ in range(runs + 1)][1:]
    ours, base = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(base)


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
