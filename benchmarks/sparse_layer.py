"""The replica's sparse layer against transformers' experts implementations, alternating in one run.

    OMP_NUM_THREADS=1 python benchmarks/sparse_layer.py [--shapes NAME,...] [--dtypes fp32,bf16]
        [--tokens 1,8,64,512,4096] [--rounds 20] [--width 1]

Same weights, same routing, outputs compared before anything is timed. In each round every competitor runs on
that round's own random routings (uniform over experts): one of them, or `CALLS` in a row below 64 tokens, as
a decode step runs layer after layer. Beside them the machine is measured: its best large GEMM in this type
(plain or packed weights) and its fastest plain read of memory. Printed are medians over the rounds of process
CPU time, as a ratio to the limit: the larger of the active FLOPs at that GEMM's rate and the bytes of the
touched experts at that bandwidth. `ours` holds packed weights where oneDNN can, `unpacked` plain ones. A
competitor that takes more than `SLOW` times our time is timed in 3 rounds; one that would gather more than
`GATHER_BYTES` is not run.

Routed experts only: a shared expert is a dense FFN and the same for everybody. Widths are `--width` times
those of DeepSeek-V2-Lite and Qwen3-30B-A3B, and half those of Mixtral-8x7B: 1.3 to 2.3 GiB in fp32 for each
of the three layouts held (packed, [in, out], transformers' [out, in]), far beyond the last cache.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import TYPE_CHECKING

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
GATHER_BYTES = 4e9
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    forwards = competitors(name, shape, dtype)
    machine = Machine(dtype)
    print(
        f"\n{name}-like, {str(dtype)[6:]}: {shape.experts} of {shape.top_k}, hidden {shape.hidden}, expert "
        f"width {shape.width}, {shape.experts * shape.elements * dtype.itemsize / 2**20:.0f} MiB of experts"
    )
    print(f"{'tokens':>6} {'limit':>9} {'bound':>7}", *(f"{n:>11}" for n in forwards), f"{'lead':>7}")
    for tokens in (int(t) for t in options.tokens.split(",")):
        _line(tokens, shape, forwards, machine, options.rounds)
    del forwards["batched_mm"]
    peaks = {name: peak_bytes(f, *routed(4096, shape, dtype, 0)) for name, f in forwards.items()}
    print("peak extra MiB at 4096:", ", ".join(f"{name} {b / 2**20:.1f}" for name, b in peaks.items()))


def _line(tokens: int, shape: Shape, forwards: dict[str, Forward], machine: Machine, rounds: int) -> None:
    dtype = machine.square.dtype
    running = dict(forwards)
    if tokens * shape.top_k * shape.elements * dtype.itemsize > GATHER_BYTES:
        del running["batched_mm"]
    calls = CALLS if tokens < 64 else 1
    compare(running, *routed(tokens, shape, dtype, -1))
    seconds: dict[str, list[float]] = {name: [] for name in running}
    streaming, computing = [], []
    for round_ in range(rounds):
        inputs = [routed(tokens, shape, dtype, round_ * calls + call) for call in range(calls)]
        touched = statistics.mean(len(set(choice.experts_TK.flatten().tolist())) for _, choice in inputs)
        streaming.append(machine.seconds_per_byte() * touched * shape.elements * dtype.itemsize)
        computing.append(machine.seconds_per_flop() * 2 * tokens * shape.top_k * shape.elements)
        for name, forward in running.items():
            if round_ < 3 or statistics.median(seconds[name]) < SLOW * statistics.median(seconds["ours"]):
                seconds[name].append(_seconds(forward, inputs) / calls)
    limits = {"memory": statistics.median(streaming), "compute": statistics.median(computing)}
    bound = max(limits, key=lambda name: limits[name])
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    ratios = [
        f"{medians[name] / limits[bound]:11.2f}" if name in medians else f"{'-':>11}" for name in forwards
    ]
    lead = min(medians[name] for name in PEERS if name in medians) / medians["ours"] - 1
    print(f"{tokens:6} {limits[bound] * 1e3:6.2f} ms {bound:>7}", *ratios, f"{lead:7.1%}", flush=True)


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
    forward(x, choice)
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
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
