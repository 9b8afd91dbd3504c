"""What a verification promises to take, against what its process really took, and how soon it refuses.

    python benchmarks/memory_promise.py [--models mixtral-8x7b ...] [--promise 256MiB 1GiB]

Each run is a process of its own that has loaded everything and checked a tiny model first, so that libraries
and their buffers are there. Then: how far resident memory rose above that (VmHWM, reset before), as a part of
`--max-memory`. Refusals are timed from the start of the process, at scale 1. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

MODELS = (
    "mixtral-8x7b",
    "deepseek-v3",
    "llama-4-maverick",
    "qwen3-next-80b-a3b",
    "gpt-oss-120b",
    "switch-base-8",
)
RUN = """
import sys
from fractions import Fraction
from pathlib import Path
from moe_plan.api import load
from moe_plan.plan.verification import Request
from moe_plan.witness.verify import verify

def kib(field):
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1])

verify(load("mixtral-8x7b"), Request(Fraction(1, 1024), full_width=False))
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
ledger = verify(load(sys.argv[1]), Request(None, int(sys.argv[2]), tokens=int(sys.argv[3])))
print((kib("VmHWM") - before) * 1024, ledger.scale, len(ledger.differences))
"""


def main() -> None:
    """Print one row for each model and promise, then the refusals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--promise", nargs="+", type=int, default=[256, 1024], help="MiB")
    parser.add_argument("--tokens", nargs="+", type=int, default=[24, 1024])
    asked = parser.parse_args()
    print(f"{'model':22} {'tokens':>6} {'scale':>7} {'promise':>10} {'taken':>10} {'part':>6}  differences")
    for name in asked.models:
        for promise in asked.promise:
            for tokens in asked.tokens:
                _run(name, promise, tokens)
    print(f"\n{'refused at scale 1':22} {'seconds':>8}")
    for name in asked.models:
        _refused(name)


def _run(name: str, promise_mib: int, tokens: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, str(promise_mib << 20), str(tokens)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{name:22} {tokens:6} {done.stderr.strip().splitlines()[-1]}")
        return
    taken, scale, differences = done.stdout.split()
    part = int(taken) / (promise_mib << 20)
    sizes = f"{promise_mib:6} MiB {int(taken) / 2**20:6.0f} MiB {part:6.2f}"
    print(f"{name:22} {tokens:6} {scale:>7} {sizes}  {differences}")


def _refused(name: str) -> None:
    command = [str(Path(sys.executable).parent / "moe-plan"), "verify", name, "--scale", "1", "--quiet"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(
        f"{name:22} {time.perf_counter() - start:8.2f}  exit {done.returncode}: {done.stderr.strip()[:160]}"
    )


if __name__ == "__main__":
    main()
