"""Forwards to be timed: recorded on the meta device, and run by the clock, with the same routing."""

from __future__ import annotations

from functools import partial
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica import build
from moe_plan.replica.cache import Cache
from moe_plan.replica.measure.clock import now
from moe_plan.replica.measure.trace import Tracer
from moe_plan.replica.routing import Uniform
from moe_plan.witness.run import tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from moe_plan.replica.call import Options
    from moe_plan.replica.measure.trace import Operation
    from moe_plan.replica.model import Replica
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.run import Shape

STEPS = 12
"""Decode steps of a round."""
SETTLED = 4
"""Of them, those that are timed: the last, when caches hold what decode uses and not what prefill left."""


class Replayed:
    """A routing that is drawn once and then given again: to the recording and to every run that is timed."""

    def __init__(self, seed: int) -> None:
        self._drawn: dict[tuple[int, int, int, int], Tensor] = {}
        self._routing = Uniform(seed)

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:
        """As `Routing.choose`."""
        key = (layer, tokens, top_k, choices)
        if key not in self._drawn:
            self._drawn[key] = self._routing.choose(layer, tokens, top_k, choices)
        return self._drawn[key]


class Work(NamedTuple):
    """The operations of a prefill and of the decode step after it."""

    prefill: list[Operation]
    decode: list[Operation]
    weight_bytes: int


class Taken(NamedTuple):
    """Seconds of a prefill and of a decode step."""

    prefill: float
    decode: float


def recorded(spec: ModelSpec, dtype: str, shape: Shape, options: Options) -> Work:
    """What a forward would run, from shapes alone."""
    replica = build.on_meta(spec, dtype)
    prefill, decode = islice(_forwards(replica, shape, options, 0), 2)
    with Tracer() as first:
        prefill()
    with Tracer() as second:
        decode()
    return Work(first.operations, second.operations, build.weight_bytes(replica))


def timed(replica: Replica, shape: Shape, options: Options, seed: int) -> Taken:
    """Seconds of one prefill, and the median of the decode steps after it."""
    device = replica.embedding.device
    taken = []
    for run in _forwards(replica, shape, options, seed):
        start = now(device)
        run()
        taken.append(now(device) - start)
    return Taken(taken[0], median(taken[-SETTLED:]))


def _forwards(replica: Replica, shape: Shape, options: Options, seed: int) -> Iterator[Callable[[], object]]:
    """The prefill, then decode steps on the same cache."""
    cache = Cache(replica, shape.sequences, shape.tokens + STEPS)
    ids_BT = tokens_of(replica, shape._replace(steps=STEPS), seed)
    source_BS = ids_BT[:, : shape.tokens].contiguous() if replica.encoders else None
    prompt = ids_BT[:, : shape.tokens].contiguous()
    yield partial(replica, prompt, cache, options, source_BS)
    for step in range(shape.tokens, shape.tokens + STEPS):
        token = ids_BT[:, step : step + 1].contiguous()
        yield partial(replica, token, cache, options)
