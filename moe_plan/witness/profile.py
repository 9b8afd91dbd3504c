"""A profile: the sparse layer of a model and its dense twins, by the clock, batch after batch."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING

import torch

from moe_plan.errors import ReplicaError
from moe_plan.plan.profiling import TWINS, About, Load, Point, Spread, Step
from moe_plan.replica import build
from moe_plan.witness.prepare import device_of, memory_of
from moe_plan.witness.profile_ceiling import Machine
from moe_plan.witness.profile_machine import device_name, machine, versions
from moe_plan.witness.profile_memory import Asked
from moe_plan.witness.profile_routing import Draws
from moe_plan.witness.profile_run import Runner, hidden_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from fractions import Fraction

    from torch import Tensor

    from moe_plan.plan.profiling import Request, Twin
    from moe_plan.plan.routed_layers import Routed
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.profile_layer import Layers
    from moe_plan.witness.profile_run import Given, Work

    Say = Callable[[str], None]

PATIENCE_S = 4.0
"""Seconds of runs of one layer with one batch after which no further repeat begins; two are always made."""
FEWEST_RUNS = 2
WARM_S = 0.5
"""A layer whose run takes longer is not run once before it is timed: what that would warm is lost by then."""


class Bench:
    """One layer of a model and its twins, with their memory, ready to be measured."""

    def __init__(self, spec: ModelSpec, routed: Routed, request: Request) -> None:
        """Raises ReplicaError, before anything is taken, where memory does not suffice."""
        device = device_of(request.device)
        asked = Asked(spec, routed, request, memory_of(device))
        scale = asked.scale()
        layers = asked.layers(scale)
        self.about = _about(asked, layers, scale, device)
        self._request, self._layers, self._device = request, layers, device
        self._draws = Draws(request, routed)
        self._machine = Machine(device, build.DTYPES[request.dtype])
        self._runners = {twin: Runner(layers, twin, request.dtype, device, request.seed) for twin in TWINS}
        self._last = dict.fromkeys(TWINS, 0.0)

    def points(self, say: Say = lambda _: None) -> Iterator[Point]:
        """Every batch in turn; `say` hears what is being measured. Raises ReplicaError out of memory."""
        batches = self._request.tokens
        for number, tokens in enumerate(batches, 1):
            where = f"{tokens:,} tokens, {number} of {len(batches)}: "
            with torch.no_grad(), _threads(self._request.threads), _memory_errors(self._device):
                point = self._point(tokens, partial(_said, say, where))
            yield point

    def _point(self, tokens: int, say: Say) -> Point:
        request = self._request
        x_BTD = hidden_states(self._layers, tokens, request.dtype, self._device, request.seed)
        self._warm(x_BTD, say)
        taken: dict[Twin, list[float]] = {twin: [] for twin in TWINS}
        work: dict[Twin, list[Work]] = {twin: [] for twin in TWINS}
        loads: list[tuple[int, ...]] = []
        for repeat in range(request.repeats):
            drawn = self._draws.draw(tokens)
            # Each run comes first, second and last in turn.
            for twin in (*TWINS[repeat % 3 :], *TWINS[: repeat % 3]):
                if len(taken[twin]) >= FEWEST_RUNS and sum(taken[twin]) > PATIENCE_S:
                    continue
                say(f"{NAMES[twin]}, run {repeat + 1} of {request.repeats}")
                seconds, rows = self._run(twin, x_BTD, drawn)
                taken[twin].append(seconds)
                work[twin].append(self._runners[twin].work(x_BTD, drawn, rows))
                if twin == "sparse":
                    loads.append(rows)
        say("what the machine can do")
        steps = {twin: _step(taken[twin], work[twin]) for twin in TWINS}
        self._last = {twin: steps[twin].seconds.middle for twin in TWINS}
        load = _load(loads, self._draws.expected_distinct(tokens))
        return Point(tokens, steps["sparse"], steps["active"], steps["total"], load, self._machine.ceiling())

    def _warm(self, x_BTD: Tensor, say: Say) -> None:
        drawn = self._draws.draw(x_BTD.shape[1])
        for twin in TWINS:
            if self._last[twin] < WARM_S:
                say(f"{NAMES[twin]}, once before it is timed")
                self._run(twin, x_BTD, drawn)

    def _run(self, twin: Twin, x_BTD: Tensor, drawn: Given) -> tuple[float, tuple[int, ...]]:
        self._machine.forget()
        return self._runners[twin].seconds(x_BTD, drawn)


NAMES: dict[Twin, str] = {
    "sparse": "sparse",
    "active": "dense of equal active size",
    "total": "dense of equal total size",
}


def _said(say: Say, where: str, what: str) -> None:
    say(where + what)


def _step(taken: Sequence[float], work: Sequence[Work]) -> Step:
    seconds = Spread(median(taken), min(taken), max(taken), len(taken))
    return Step(seconds, fmean(of.flops for of in work), fmean(of.bytes for of in work))


def _load(loads: Sequence[tuple[int, ...]], expected: float) -> Load:
    distinct = [sum(count > 0 for count in rows) for rows in loads]
    # A batch may choose zero-compute experts alone.
    ratios = [max(rows) * len(rows) / sum(rows) if sum(rows) else 1.0 for rows in loads]
    return Load(_mean(distinct), expected, _mean(ratios), tuple(loads))


def _mean(counts: Sequence[float]) -> Spread:
    return Spread(fmean(counts), min(counts), max(counts), len(counts))


def _about(asked: Asked, layers: Layers, scale: Fraction, device: torch.device) -> About:
    routed, block = asked.routed, asked.routed.block
    return About(
        model=asked.spec.name,
        layer=routed.layer,
        block=routed.name,
        scale=str(scale),
        hidden=layers.hidden,
        experts=block.experts,
        zero_experts=block.zero_experts,
        top_k=block.top_k,
        sparse=layers.size("sparse"),
        active=layers.size("active"),
        total=layers.size("total"),
        device=device.type,
        device_name=device_name(device),
        dtype=asked.request.dtype,
        machine=machine(),
        versions=versions(),
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _memory_errors(device: torch.device) -> Iterator[None]:
    """An allocation that fails all the same, on a device that others use too."""
    try:
        yield
    except torch.OutOfMemoryError:
        message = f"{device.type} ran out of memory; try a smaller --scale or fewer --tokens"
        raise ReplicaError(message) from None
