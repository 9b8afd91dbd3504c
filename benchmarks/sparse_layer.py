"""The replica's sparse layer against transformers' experts implementations, alternating in one run.

    OMP_NUM_THREADS=1 python benchmarks/sparse_layer.py [--shapes NAME,...] [--dtypes fp32,bf16]
        [--tokens 1,8,64,512,4096] [--rounds 20] [--width 0.5]

Same weights, same routing, outputs compared before anything is timed. In each round every competitor runs
once on that round's own random routing (uniform over experts), next to a measurement of the machine: its
best large GEMM in this type (plain or packed weights) and its fastest plain read of memory. Printed are
medians over the rounds of process CPU time, as a ratio to the limit: the larger of the active FLOPs at that
GEMM's rate and the bytes of the touched experts at that bandwidth. A competitor that takes more than
`SLOW` times our time is timed in 3 rounds; one that would gather more than `GATHER_BYTES` is not run.

Routed experts only: a shared expert is a dense FFN and the same for everybody. Widths are `--width` times
those of Mixtral-8x7B, DeepSeek-V2-Lite and Qwen3-30B-A3B; weights exceed the last cache in each shape.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers.models.deepseek_v2 import configuration_deepseek_v2, modeling_deepseek_v2
from transformers.models.mixtral import configuration_mixtral, modeling_mixtral
from transformers.models.qwen3_moe import configuration_qwen3_moe, modeling_qwen3_moe

from moe_plan.replica.ffn.activations import activation
from moe_plan.replica.ffn.experts import Choice, ExpertWeights, pack, packable, run_experts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SLOW = 4.0
GATHER_BYTES = 4e9
PEERS = ("eager", "grouped_mm", "batched_mm")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Shape(NamedTuple):
    """A published sparse layer."""

    hidden: int
    width: int
    experts: int
    top_k: int

    def scaled(self, factor: float) -> Shape:
        """The same counts of experts, narrower."""
        return self._replace(hidden=int(self.hidden * factor), width=int(self.width * factor))

    @property
    def elements(self) -> int:
        """Weights of one expert."""
        return 3 * self.hidden * self.width


SHAPES = {
    "mixtral": Shape(4096, 14336, 8, 2).scaled(0.5),
    "deepseek-v2": Shape(2048, 1408, 64, 6),
    "qwen3": Shape(2048, 768, 128, 8),
}

Forward = "Callable[[Tensor, Choice], Tensor]"


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
        runs = [_seconds(lambda: self.square @ self.square)]
        if self.packed is not None:
            linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
            runs.append(_seconds(lambda: linear(self.square, self.packed, None, "none", [], "")))
        return min(runs) / (2 * 2048**3)


def main() -> None:
    """Print one table for each shape and type."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)  # noqa: FBT003
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s)")
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
    tokens = 4096
    peaks = {n: peak_bytes(f, *routed(tokens, shape, dtype, 0)) for n, f in forwards.items() if n != "batched_mm"}
    print("peak extra MiB at 4096:", ", ".join(f"{n} {b / 2**20:.1f}" for n, b in peaks.items()))


def competitors(name: str, shape: Shape, dtype: torch.dtype) -> dict[str, Forward]:
    """Every forward on the same weights, ours first."""
    up = (torch.randn(shape.experts, 2 * shape.width, shape.hidden) * 0.02).to(dtype)
    down = (torch.randn(shape.experts, shape.hidden, shape.width) * 0.02).to(dtype)
    outputs_first = ExpertWeights(up.transpose(1, 2), down.transpose(1, 2))
    act = activation("silu", gated=True)
    found: dict[str, Forward] = {}
    if packable(outputs_first):
        packed = pack(outputs_first)
        found["ours"] = lambda x, choice: run_experts(x, choice, packed, act)
    plain = ExpertWeights(*(w.contiguous() for w in outputs_first[:2]))
    found["unpacked"] = lambda x, choice: run_experts(x, choice, plain, act)
    for peer in PEERS:
        module = _module(name, shape, peer)
        module.gate_up_proj.data, module.down_proj.data = up, down
        found[peer] = lambda x, choice, module=module: module(x, choice.experts_TK, choice.weights_TK)
    return found


def _module(name: str, shape: Shape, implementation: str) -> torch.nn.Module:
    same = {"hidden_size": shape.hidden, "hidden_act": "silu"}
    with torch.device("meta"):
        if name == "mixtral":
            config = configuration_mixtral.MixtralConfig(
                **same, intermediate_size=shape.width, num_local_experts=shape.experts
            )
            make = modeling_mixtral.MixtralExperts
        elif name == "deepseek-v2":
            config = configuration_deepseek_v2.DeepseekV2Config(
                **same, moe_intermediate_size=shape.width, n_routed_experts=shape.experts
            )
            make = modeling_deepseek_v2.DeepseekV2Experts
        else:
            config = configuration_qwen3_moe.Qwen3MoeConfig(
                **same, moe_intermediate_size=shape.width, num_experts=shape.experts
            )
            make = modeling_qwen3_moe.Qwen3MoeExperts
        config._experts_implementation = implementation  # noqa: SLF001
        return make(config)


def routed(tokens: int, shape: Shape, dtype: torch.dtype, seed: int) -> tuple[Tensor, Choice]:
    """Tokens and their experts, drawn uniformly."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, shape.hidden, generator=generator).to(dtype)
    scores = torch.rand(tokens, shape.experts, generator=generator).softmax(-1)
    weights, experts = scores.topk(shape.top_k)
    return x, Choice(experts, (weights / weights.sum(-1, keepdim=True)).to(dtype))


def _line(
    tokens: int, shape: Shape, forwards: dict[str, Forward], machine: Machine, rounds: int
) -> None:
    dtype = machine.square.dtype
    running = dict(forwards)
    if tokens * shape.top_k * shape.elements * dtype.itemsize > GATHER_BYTES:
        del running["batched_mm"]
    compare(running, *routed(tokens, shape, dtype, 1000))
    seconds: dict[str, list[float]] = {name: [] for name in running}
    bytes_, flops, limits, memory_bound = [], [], [], 0
    for round_ in range(rounds):
        x, choice = routed(tokens, shape, dtype, round_)
        touched = len(choice.experts_TK.unique())
        bytes_.append(machine.seconds_per_byte() * touched * shape.elements * dtype.itemsize)
        flops.append(machine.seconds_per_flop() * 2 * tokens * shape.top_k * shape.elements)
        for name, forward in running.items():
            if round_ < 3 or statistics.median(seconds[name]) < SLOW * statistics.median(seconds["ours"]):
                seconds[name].append(_seconds(lambda: forward(x, choice)))  # noqa: B023
    streaming, computing = statistics.median(bytes_), statistics.median(flops)
    limit = max(streaming, computing)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    best_peer = min(medians[name] for name in PEERS if name in medians)
    cells = [f"{medians[name] / limit:11.2f}" if name in medians else f"{'-':>11}" for name in forwards]
    lead = best_peer / next(iter(medians.values())) - 1
    bound = "memory" if streaming > computing else "compute"
    print(f"{tokens:6} {limit * 1e3:6.2f} ms {bound:>7}", *cells, f"{lead:7.1%}", flush=True)


def compare(forwards: dict[str, Forward], x: Tensor, choice: Choice) -> None:
    """Run everybody once and stop where outputs differ."""
    outputs = {name: forward(x, choice).float() for name, forward in forwards.items()}
    expected = outputs["eager"]
    tolerance = 1e-5 if x.dtype == torch.float32 else 2e-2
    for name, output in outputs.items():
        error = ((output - expected).norm() / expected.norm()).item()
        if not error < tolerance:
            raise SystemExit(f"{name} differs from eager by {error:.1e}")


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


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--tokens", default="1,8,64,512,4096")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
