"""`profile` with witnesses that need no torch and no time: batches made up here, by a formula.

`python tests/fake_profile.py OUTCOME ARGUMENTS...`: what happens after so many batches, `ctrl-c=3`; nothing
where OUTCOME is empty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from conftest import Ran, bare_environment

from moe_plan.errors import ReplicaError
from moe_plan.plan.ledger import Ledger, Line
from moe_plan.plan.profiling import About, Ceiling, Load, Point, Size, Spread, Step
from moe_plan.plan.profiling_ranks import BatchOverRanks, Bytes, Rank, RanksProfile

FAKE = Path(__file__).resolve()
CEILING = Ceiling(1e11, 2.5e10)
EXPERT, OTHERS = 1_572_864, 4_096
VERSIONS = {"moe_plan": "0", "python": "3", "torch": "2"}
MACHINE = {"cpu": "Test CPU", "cores": 2, "instructions": "AVX2", "architecture": "x86_64", "system": "Linux"}


def about(spec, routed, request):
    block = routed.block
    sparse = Size(512, block.experts * EXPERT + OTHERS, block.top_k * EXPERT + OTHERS)
    active = Size(1024, sparse.active_parameters, sparse.active_parameters)
    total = Size(4096, sparse.parameters, sparse.parameters)
    return About(
        spec.name, routed.layer, routed.name, str(request.scale or Fraction(1, 8)), 512, block.experts,
        block.zero_experts, block.top_k, sparse, active, total, "cpu", "Test CPU", request.dtype, MACHINE, VERSIONS,
    )  # fmt: skip


def point(known, tokens, repeats):
    experts, top_k = known.experts, known.top_k
    distinct = min(experts, tokens * top_k)
    busy = [tokens * top_k // distinct] * distinct
    busy[0] += tokens * top_k - sum(busy)
    rows = (*busy, *[0] * (experts - distinct))
    imbalance = max(rows) * experts / sum(rows)
    load = Load(
        Spread(distinct, distinct, distinct, repeats),
        experts * (1 - (1 - top_k / experts) ** tokens),
        Spread(imbalance, imbalance, imbalance, repeats),
        (rows,) * repeats,
    )
    touched = 4 * (distinct * EXPERT + OTHERS)
    steps = (
        step(2 * tokens * known.sparse.active_parameters, touched, repeats),
        step(2 * tokens * known.active.parameters, 4 * known.active.parameters, repeats),
        step(2 * tokens * known.total.parameters, 4 * known.total.parameters, repeats),
    )
    return Point(tokens, *steps, load, CEILING)


def step(flops, moved, repeats):
    seconds = 1.25 * (flops / CEILING.flops_per_s + moved / CEILING.bytes_per_s)
    return Step(Spread(seconds, 0.9 * seconds, 1.2 * seconds, repeats), flops, moved)


class Bench:
    def __init__(self, spec, routed, request):
        self.about, self.request = about(spec, routed, request), request

    def points(self, say):
        for number, tokens in enumerate(self.request.tokens):
            say(f"{tokens} tokens")
            happens(number)
            yield point(self.about, tokens, self.request.repeats)


class Over(NamedTuple):
    ranks: int
    timeout_s: float


def begun(model, spec, request, over):
    kept = ("1 of 32 layers: one of each kind",)
    return RanksProfile(
        spec.name, "1/16", kept, over.ranks, "gloo", "cpu", request.dtype, MACHINE, VERSIONS, ()
    )


def over_ranks(model, spec, request, tokens, over):
    happens(request.tokens.index(tokens))
    phases = dict.fromkeys(("sort", "dispatch", "experts", "combine", "add", "wait"), 0.00125)
    wrong = f"differs={tokens}" == OUTCOME
    ranks = tuple(
        Rank(rank, tokens // 2, tokens, Bytes(512 * tokens, 256), Bytes(512 * tokens + wrong, 256), phases)
        for rank in range(over.ranks)
    )
    lines = (
        *(
            Line("bytes on the wire", f"rank {of.rank} sent", of.predicted.sent, of.measured.sent, "bytes")
            for of in ranks
        ),
        Line("logits", "differ from one process", 0, 0, "elements"),
        Line("time of the exchange", "dispatch, all layers", 0.001, 0.00125, "s", judged=False),
    )
    ledger = Ledger(spec.name, "1/16", (), "cpu", request.dtype, tokens, 0, lines)
    return BatchOverRanks(tokens, ranks, 1.25, True, ledger)


def happens(number):
    what, _, when = OUTCOME.partition("=")
    if when != str(number):
        return
    if what == "fails":
        raise ReplicaError("rank 1 was killed by SIGKILL; it was last seen in: dispatch of tokens")
    if what == "oom":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    if what == "bug":
        raise RuntimeError("shapes cannot be multiplied")
    if what == "slow":
        time.sleep(0.8)
    if what in ("ctrl-c", "sigterm"):
        number = signal.SIGINT if what == "ctrl-c" else signal.SIGTERM
        # A run in the background of a script ignores Ctrl-C, and its children would too.
        if what == "ctrl-c":
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), number)
        time.sleep(20)


def run_fake(outcome: str, *arguments: str, stdout: int = subprocess.PIPE, **extra: str) -> Ran:
    """`moe-plan profile` with the witnesses of this file."""
    done = subprocess.run(
        [sys.executable, FAKE, outcome, "profile", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=bare_environment(**extra),
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


def install():
    """Put the witnesses in the place of the real ones."""
    one = ModuleType("moe_plan.witness.profile")
    one.Bench = Bench
    several = ModuleType("moe_plan.witness.profile_ranks")
    several.Over, several.begun, several.measured = Over, begun, over_ranks
    several.sized = lambda spec, request, over: spec
    import moe_plan.witness

    sys.modules[one.__name__], sys.modules[several.__name__] = one, several
    moe_plan.witness.profile, moe_plan.witness.profile_ranks = one, several


OUTCOME = ""
if __name__ == "__main__":
    from moe_plan.__main__ import main

    OUTCOME = sys.argv[1]
    install()
    sys.exit(main(sys.argv[2:]))
