"""What the worst spec files cost: seconds and peak memory of a process that refuses, or counts, each of them.

    python benchmarks/bad_input.py

The files are those of tests/bad_bytes.py. Each is refused in a process of its own; the first line is the
same process with nothing to read. The promise is at most 1 s and 200 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
REFUSE = """
import sys
import moe_plan
from moe_plan.errors import InputError
from moe_plan.spec.load import load_spec
try:
    sys.argv[1:] and moe_plan.model(load_spec(sys.argv[1])).total_params
except InputError:
    pass
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def main() -> None:
    """Print a line a file, and the worst of each column."""
    sys.path.insert(0, str(TESTS))
    from bad_bytes import GENERATED  # type: ignore[import-not-found]  # noqa: PLC0415  a module of the tests

    seconds, mebibytes = _refuse()
    print(f"{'nothing to read':32} {seconds:6.3f} s {mebibytes:6.0f} MiB")
    worst = (0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bad.yaml"
        for name, data in {**{name: case[0] for name, case in GENERATED.items()}, **_accepted()}.items():
            path.write_bytes(data)
            seconds, mebibytes = _refuse(str(path))
            worst = (max(worst[0], seconds), max(worst[1], mebibytes))
            print(f"{name:32} {seconds:6.3f} s {mebibytes:6.0f} MiB")
    print(f"{'worst':32} {worst[0]:6.3f} s {worst[1]:6.0f} MiB (promise: 1 s, 200 MB)")


def _accepted() -> dict[str, bytes]:
    """Specs that are valid and as much work as the limits allow."""
    head = (
        "name: large\nsource: a test\npublished: {source: nobody}\nhidden: 8\nvocab: 8\n"
        "attention: {a: {kind: gqa, heads: 2, kv_heads: 1, head_dim: 4}}\nffn: {f: {kind: dense, width: 8}}\n"
    )
    tensors = ", ".join(f"{{name: t{n}, shape: [2]}}" for n in range(2_500))
    many = f"{head}layers:\n  - {{repeat: 10000, attention: a, ffn: f, tensors: [{tensors}]}}\n"
    run = "[{attention: a}, {ffn: f}]"
    deep = f"{head}layers:\n  - {{repeat: 10000, pattern: [{{repeat: 5, pattern: {run}}}]}}\n"
    return {"accepted: tensors in each layer": many.encode(), "accepted: 100,000 layers": deep.encode()}


def _refuse(*arguments: str) -> tuple[float, float]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", REFUSE, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return time.perf_counter() - start, int(done.stdout) / 1024


if __name__ == "__main__":
    main()
