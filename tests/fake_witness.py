"""The command with a witness that needs no torch: ledgers made up here, one outcome for each model named.

`python tests/fake_witness.py OUTCOMES ARGUMENTS...`, where OUTCOMES is `name=outcome,...` of WITNESSES; models that
are not named hold. The clock of the checks stands still, so that outputs can be compared to the byte.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import ModuleType

from conftest import Ran, bare_environment

from moe_plan.errors import InputError, Problem, ReplicaError, UnavailableError
from moe_plan.plan.ledger import Ledger, Line

FAKE = Path(__file__).resolve()
TENSORS = {
    "embedding": 128_000,
    "attention.q": 4_194_304,
    "attention.k": 1_048_576,
    "attention.v": 1_048_576,
    "attention.o": 4_194_304,
    "router.weight": 65_536,
    "experts.gate": 29_360_128,
    "experts.up": 29_360_128,
    "experts.down": 29_360_128,
    "lm_head": 128_000,
}
LAYERS = "32 layers"


def holding(model, request):
    """Every verdict but `differs`."""
    return _ledger(model, request, tuple(_lines(request)))


def differing(model, request):
    """Two quantities differ: one by a single element, one beyond its band."""
    lines = [_wrong(line) for line in _lines(request)]
    return _ledger(model, request, tuple(lines))


def differing_in_all(model, request):
    lines = [line._replace(measured=2 * line.predicted, band=None, judged=True) for line in _lines(request)]
    return _ledger(model, request, tuple(lines))


def hostile(model, request):
    """Text that would do harm in some format, and numbers that are none."""
    name = "=cmd() | [red]x[/red] \x1b[31m @team"
    lines = (
        Line(name, name, 1, 1, "parameters", note=name),
        Line(name, name, 0, 5, "bytes", note=name),
        Line("odd", "not a number", 1.0, float("nan"), "s", 0.1),
        Line("odd", "infinite", 1.0, float("inf"), "bytes", 0.1),
        Line("odd", "nothing", 0, 0, "elements"),
    )
    return _ledger(model, request, lines)._replace(kept=(name,))


def failing(model, request):
    raise ReplicaError(f"replica of {model.name} takes 93.0 GiB, and 8.2 GiB may be taken; 1/64 fits")


def without_memory(model, request):
    class OutOfMemoryError(RuntimeError):
        """As torch names its own."""

    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def without_cpu_memory(model, request):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


def broken(model, request):
    raise RuntimeError("shapes cannot be multiplied")


def refusing(model, request):
    raise InputError((Problem("MP305", model.name, None, None, "", "no replica of this kind"),))


def elsewhere(model, request):
    raise UnavailableError(f"no device {request.device} here")


def interrupted(model, request):
    # A run in the background of a script ignores Ctrl-C, and its children would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)


def terminated(model, request):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)


def slow(model, request):
    time.sleep(0.8)
    return holding(model, request)


WITNESSES = {
    "differs": differing,
    "many": differing_in_all,
    "hostile": hostile,
    "fails": failing,
    "oom": without_memory,
    "cpu-oom": without_cpu_memory,
    "bug": broken,
    "refuses": refusing,
    "elsewhere": elsewhere,
    "ctrl-c": interrupted,
    "sigterm": terminated,
    "slow": slow,
}


def _ledger(model, request, lines):
    scale = str(request.scale or "1/16")
    kept = ("all 32 layers", "2 of 8 experts a token", "vocabulary 1,000 of 32,000")
    device = "cpu" if request.device == "auto" else request.device
    return Ledger(model.name, scale, kept, device, request.dtype, request.tokens, request.steps, lines)


def _lines(request):
    for name, size in TENSORS.items():
        yield Line("parameters", name, size, size, "parameters", note=LAYERS if "." in name else "")
    for name in ("attention", "routed_experts", "router"):
        yield Line("parameters", f"class {name}", 10_485_760, 10_485_760, "parameters")
    total = sum(TENSORS.values())
    yield Line("parameters", "all parameters", total, total, "parameters")
    yield from _forward("prefill", request.tokens)
    for step in range(1, request.steps + 1):
        yield from _forward(f"decode step {step}", 1)
    yield Line(
        "distinct experts",
        f"{request.tokens} tokens, uniform",
        7.9919,
        7.99,
        "experts",
        0.0123,
        note="mean of 20 seeds",
    )
    yield Line("distinct experts", f"{request.tokens} tokens, the router's own choice", 7.9919, 7.1, "experts", None, False, "random weights, not trained ones")  # fmt: skip
    yield Line("memory", "weights allocated", 4 * total, 4 * total, "bytes", note="fp32")
    yield Line("memory", "peak activations of prefill", 1_254_400, 1_262_592, "bytes", 0.02)
    if request.time:
        yield Line("time", "prefill", 0.01234, 0.01301, "s", 0.15)
        yield Line("time", "decode step", 0.002, 0.00192, "s", 0.15)
    if request.full_width:
        yield Line(
            "full width: parameters",
            "experts.gate",
            15_032_385_536,
            15_032_385_536,
            "parameters",
            note=LAYERS,
        )
        yield Line("full width: parameters", "all parameters", 46_702_792_704, 46_702_792_704, "parameters")


def _forward(what, tokens):
    for name in ("attention.q", "attention.scores", "attention.o", "experts.gate", "experts.down", "lm_head"):
        yield Line(f"FLOPs of {what}", name, 2 * 4_194_304 * tokens, 2 * 4_194_304 * tokens, "FLOP")
    flops = 12 * 4_194_304 * tokens
    yield Line(f"FLOPs of {what}", "all operations", flops, flops, "FLOP")
    for name in ("attention.keys", "attention.values"):
        yield Line(f"cache after {what}", name, 65_536 * tokens, 65_536 * tokens, "bytes", note=LAYERS)


def _wrong(line):
    if (line.group, line.name) == ("FLOPs of decode step 2", "attention.scores"):
        return line._replace(measured=line.measured + 2)
    if line.name == "peak activations of prefill":
        return line._replace(measured=1_500_000, note="the softmax is not done in place")
    return line


def run_fake(outcomes: str, *arguments: str, stdout: int = subprocess.PIPE, **extra: str) -> Ran:
    """The command with `outcomes` for its models (`name=outcome,...`)."""
    done = subprocess.run(
        [sys.executable, FAKE, outcomes, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=bare_environment(**extra),
        timeout=30,
        check=False,
    )
    return Ran(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


def install(outcomes):
    """Put the witness in the place of the real one; `outcomes` is `name=outcome,...`."""
    chosen = dict(pair.split("=") for pair in outcomes.split(",") if pair)
    witness = ModuleType("moe_plan.witness.verify")
    witness.verify = lambda model, request: WITNESSES.get(chosen.get(model.name), holding)(model, request)
    sys.modules[witness.__name__] = witness
    import moe_plan.cli.checking as checking

    ticks = count()
    checking.perf_counter = lambda: next(ticks) * 1.5


if __name__ == "__main__":
    from moe_plan.__main__ import main

    install(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
