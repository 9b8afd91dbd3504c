"""The replica's sparse layer against transformers' experts implementations, alternating in one run.

    OMP_NUM_THREADS=1 python benchmarks/sparse_layer.py [--shapes NAME,...] [--dtypes fp32,bf16]
        [--tokens 1,8,64,512,4096] [--rounds 20] [--record FILE] [--peak] [--width 1] [--threads 1]

Same weights, same routing, outputs compared before anything is timed. In each round every competitor runs on
that round's own random routings (uniform over experts): one of them, or `CALLS` in a row of a single token,
as a decode step runs layer after layer. Beside them the machine is measured: its best large GEMM in this type
(plain or packed weights) and its fastest plain read of memory. Printed are medians over the rounds of process
CPU time, as a ratio to the limit: the larger of the active FLOPs at that GEMM's rate and the bytes of the
touched experts at that bandwidth. `ours` holds packed weights where oneDNN can, `unpacked` plain ones; `lead`
is how much longer the best of transformers takes than ours. A competitor that takes more than `SLOW` times
our time, and `unpacked` from 512 tokens on, is timed in 3 rounds; one that would gather more than
`GATHER_BYTES` is not run.

All of it takes most of an hour. With `--record` rounds are added to those in FILE, by shape, type and tokens,
and medians are over all of them: parts can be run one by one, `--rounds 0` prints what is there. `--peak`
prints the bytes that a forward of 4,096 tokens allocates at once instead of any time.

Routed experts only: a shared expert is a dense FFN and the same for everybody. Widths are `--width` times
those of DeepSeek-V2-Lite and Qwen3-30B-A3B, and half those of Mixtral-8x7B: 1.3 to 2.3 GiB in fp32 for each
of the three layouts held (packed, [in, out], transformers' [out, in]), far beyond the last cache.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from sparse_layer_peers import PEERS, SHAPES, competitors, routed

from moe_plan.replica.ffn.experts import ExpertWeights, pack, packable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sparse_layer_peers import Forward, Shape
    from torch import Tensor

    from moe_plan.replica.ffn.experts import Choice

SLOW = 4.0
CALLS = 8
BRIEF_ROUNDS = 3
COMPARED_TOKENS = 512
PEAK_TOKENS = 4096
GATHER_BYTES = 4e9
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Case(NamedTuple):
    """One line of a table."""

    name: str
    shape: Shape
    dtype: torch.dtype
    tokens: int

    @property
    def key(self) -> str:
        """Under which its rounds are recorded."""
        return f"{self.name} {self.shape.hidden} {self.dtype} {self.tokens}"


Rounds = defaultdict[str, list[float]]
"""Seconds of each competitor in each round; `memory` and `compute` are those of the two limits."""


class Machine:
    """What this core can do at most, measured as often as it is asked."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.memory = torch.ones(64 << 20)
        self.square = torch.randn(2048, 2048).to(dtype)
        self.packed = None
        weights = ExpertWeights(self.square[None], self.square[None])
        if packable(weights):
            self.packed = pack(weights).up[0]

    def seconds_per_byte(self) -> float:
        """Of reading memory once."""
        return min(_seconds(self.memory.sum), _seconds(self.memory.amax)) / self.memory.nbytes

    def seconds_per_flop(self) -> float:
        """Of a large GEMM."""
        runs = [_seconds(torch.mm, [(self.square, self.square)])]
        if self.packed is not None:
            linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
            runs.append(_seconds(linear, [(self.square, self.packed, None, "none", [], "")]))
        return min(runs) / (2 * 2048**3)


def main() -> None:
    """Print one table for each shape and type."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {capability}, {options.threads} thread(s)")
    for name in options.shapes.split(","):
        for kind in options.dtypes.split(","):
            shape = SHAPES[name].scaled(options.width)
            _table(name, shape, DTYPES[kind], options)
            gc.collect()


def _table(name: str, shape: Shape, dtype: torch.dtype, options: argparse.Namespace) -> None:
    print(
        f"\n{name}-like, {str(dtype)[6:]}: {shape.experts} of {shape.top_k}, hidden {shape.hidden}, expert "
        f"width {shape.width}, {shape.experts * shape.elements * dtype.itemsize / 2**20:.0f} MiB of experts"
    )
    forwards = competitors(name, shape, dtype) if options.rounds or options.peak else {}
    if options.peak:
        inputs = routed(PEAK_TOKENS, shape, dtype, 0)
        for competitor in [name for name in forwards if name != "batched_mm"]:
            peak = peak_bytes(forwards[competitor], *inputs)
            print(f"peak extra at {PEAK_TOKENS} tokens: {competitor} {peak / 2**20:.1f} MiB", flush=True)
        return
    machine = Machine(dtype)
    columns = ("ours", "unpacked", *PEERS)
    print(f"{'tokens':>6} {'rounds':>6} {'limit':>10} {'bound':>7}", *(f"{n:>10}" for n in columns), "  lead")
    for tokens in (int(t) for t in options.tokens.split(",")):
        case = Case(name, shape, dtype, tokens)
        done = _recorded(options.record, case)
        if options.rounds:
            fresh = run(case, forwards, machine, range(len(done["ours"]), len(done["ours"]) + options.rounds))
            _record(options.record, case, fresh)
            for key, seconds in fresh.items():
                done[key] += seconds
        if done["ours"]:
            print(_line(case, done, columns), flush=True)


def run(case: Case, forwards: dict[str, Forward], machine: Machine, rounds: range) -> Rounds:
    """Time everybody in turn, in each of `rounds`, which say what is drawn."""
    _, shape, dtype, tokens = case
    running = dict(forwards)
    if tokens * shape.top_k * shape.elements * dtype.itemsize > GATHER_BYTES:
        del running["batched_mm"]
    calls = CALLS if tokens == 1 else 1
    compare(running, *routed(min(tokens, COMPARED_TOKENS), shape, dtype, -1))
    found: Rounds = defaultdict(list)
    for index in rounds:
        inputs = [routed(tokens, shape, dtype, index * calls + call) for call in range(calls)]
        touched = statistics.mean(len(set(choice.experts_TK.flatten().tolist())) for _, choice in inputs)
        found["memory"].append(machine.seconds_per_byte() * touched * shape.elements * dtype.itemsize)
        found["compute"].append(machine.seconds_per_flop() * 2 * tokens * shape.top_k * shape.elements)
        for name, forward in running.items():
            brief = name == "unpacked" and tokens >= COMPARED_TOKENS
            if index >= BRIEF_ROUNDS and (brief or _is_slow(found[name], found["ours"])):
                continue
            found[name].append(_seconds(forward, inputs) / calls)
    return found


def _is_slow(seconds: list[float], ours: list[float]) -> bool:
    """Where this run has not timed it yet, an earlier one has, and `ours` of this one is no measure."""
    return bool(seconds) and statistics.median(seconds) > SLOW * statistics.median(ours)


def _line(case: Case, done: Rounds, columns: tuple[str, ...]) -> str:
    medians = {name: statistics.median(runs) for name, runs in done.items() if runs}
    bound = max(("memory", "compute"), key=lambda name: medians[name])
    ratios = " ".join(
        f"{medians[name] / medians[bound]:10.2f}" if name in medians else f"{'-':>10}" for name in columns
    )
    lead = min(medians[name] for name in PEERS if name in medians) / medians["ours"] - 1
    limit = f"{medians[bound] * 1e3:7.2f} ms"
    return f"{case.tokens:6} {len(done['ours']):6} {limit} {bound:>7} {ratios} {lead:6.1%}"


def _recorded(path: Path | None, case: Case) -> Rounds:
    found: Rounds = defaultdict(list)
    if path is not None and path.exists():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if entry["case"] == case.key:
                for name, seconds in entry["seconds"].items():
                    found[name] += seconds
    return found


def _record(path: Path | None, case: Case, fresh: Rounds) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"case": case.key, "seconds": fresh}) + "\n")


def compare(forwards: dict[str, Forward], x: Tensor, choice: Choice) -> None:
    """Run everybody once and stop where outputs differ."""
    outputs = {name: forward(x, choice).float() for name, forward in forwards.items()}
    expected = outputs["eager"]
    tolerance = 1e-5 if x.dtype == torch.float32 else 2e-2
    for name, output in outputs.items():
        error = ((output - expected).norm() / expected.norm()).item()
        if not error < tolerance:
            message = f"{name} differs from eager by {error:.1e}"
            raise SystemExit(message)


def peak_bytes(forward: Forward, x: Tensor, choice: Choice) -> int:
    """Largest sum of what one forward allocates, by torch's own record of its allocator."""
    with torch.profiler.profile(profile_memory=True) as profile:
        forward(x, choice)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _seconds(forward: Callable[..., object], inputs: Iterable[tuple[object, ...]] = ((),)) -> float:
    start = time.process_time()
    for arguments in inputs:
        forward(*arguments)
    return time.process_time() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--tokens", default="1,8,64,512,4096")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
