"""What a profile is asked to measure, and what was measured: seconds, work and bytes by tokens per batch."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

Twin = Literal["sparse", "active", "total"]
"""The sparse layer, the dense layer of the parameters that one token uses, the dense layer of all of them."""
TWINS: tuple[Twin, ...] = ("sparse", "active", "total")
Bound = Literal["memory", "compute"]

LARGEST_BATCH = 4096
BATCHES = tuple(1 << power for power in range(13))


class Routing(NamedTuple):
    """Which experts tokens choose."""

    kind: Literal["uniform", "zipf", "counts"] = "uniform"
    exponent: float | None = None
    """Of `zipf`: the r-th most popular expert is chosen in proportion to r ** -exponent."""
    path: str | None = None
    """Of `counts`: the file that they came from."""
    layers: tuple[tuple[int, ...], ...] = ()
    """Of `counts`: tokens of each expert of each decoder layer."""

    def __str__(self) -> str:
        """In words: `uniform routing`, `routing as counted in FILE`."""
        if self.kind == "counts":
            return f"routing as counted in {self.path}"
        return f"Zipf {self.exponent:g} routing" if self.kind == "zipf" else "uniform routing"


class Request(NamedTuple):
    """Which layer, how it is shrunk, where it runs, and how often."""

    tokens: tuple[int, ...] = BATCHES
    """Tokens per batch, ascending."""
    routing: Routing = Routing()
    layer: int | None = None
    """Decoder layer of the published model; None: the first that routes."""
    scale: Fraction | None = None
    """Factor on widths, above 0 and at most 1; None lets the witness choose one."""
    max_memory_bytes: int | None = None
    """What the profile may take at most; None: what free memory allows."""
    device: str = "cpu"
    dtype: str = "fp32"
    repeats: int = 5
    """Timed runs of each layer with each batch, each with a routing of its own."""
    seed: int = 0
    """Of weights, tokens and routing."""
    threads: int = 1


class Spread(NamedTuple):
    """A quantity over repeats."""

    middle: float
    """Median of seconds, mean of counts."""
    least: float
    most: float
    runs: int

    @property
    def relative(self) -> float:
        """From the least to the most, over the middle."""
        return (self.most - self.least) / self.middle if self.middle else 0.0


class Step(NamedTuple):
    """What one layer did with one batch."""

    seconds: Spread
    flops: float
    """Multiply-adds, times 2, of the products that the batch runs; mean over repeats."""
    bytes: float
    """What must cross the memory bus at least: weights that the batch touches, its input, its output."""

    @property
    def flops_per_s(self) -> float:
        """Achieved rate."""
        return self.flops / self.seconds.middle

    @property
    def bytes_per_s(self) -> float:
        """Achieved rate."""
        return self.bytes / self.seconds.middle

    @property
    def intensity(self) -> float:
        """FLOPs for each byte."""
        return self.flops / self.bytes


class Load(NamedTuple):
    """How the batch was spread over the experts that hold weights."""

    distinct: Spread
    """Experts with work, mean over repeats."""
    expected: float
    """The same by the formula, for this routing."""
    imbalance: Spread
    """Rows of the busiest expert over the mean of all experts, mean over repeats."""
    rows: tuple[tuple[int, ...], ...]
    """Rows of each expert, for each repeat."""


class Ceiling(NamedTuple):
    """What this device can do at most, measured between the batches."""

    flops_per_s: float
    """Of a large matrix product."""
    bytes_per_s: float
    """Of reading memory once."""

    @property
    def ridge(self) -> float:
        """FLOPs for each byte at which both take equally long."""
        return self.flops_per_s / self.bytes_per_s

    def bound(self, step: Step) -> Bound:
        """What holds the step back: memory below the ridge, compute from it on."""
        return "memory" if step.intensity < self.ridge else "compute"

    def least_seconds(self, step: Step) -> float:
        """What the step would take if it reached the ceiling: the larger of both parts."""
        return max(step.flops / self.flops_per_s, step.bytes / self.bytes_per_s)


class Point(NamedTuple):
    """One batch."""

    tokens: int
    sparse: Step
    active: Step
    total: Step
    load: Load
    ceiling: Ceiling
    """Measured right after it."""

    def step(self, twin: Twin) -> Step:
        """That layer's step."""
        return {"sparse": self.sparse, "active": self.active, "total": self.total}[twin]


class Size(NamedTuple):
    """One of the three layers."""

    width: int
    """Intermediate width: of an expert, of a dense twin."""
    parameters: int
    active_parameters: int
    """That one token uses."""


class About(NamedTuple):
    """What is measured, and on what: known before the first batch."""

    model: str
    layer: int
    """Decoder layer of the published model whose feed-forward network this is."""
    block: str
    """Its name in the spec."""
    scale: str
    """Factor on widths: `1/16`, or `1`."""
    hidden: int
    experts: int
    """That hold weights."""
    zero_experts: int
    top_k: int
    sparse: Size
    active: Size
    total: Size
    device: str
    device_name: str
    dtype: str
    machine: dict[str, str | int | None]
    versions: dict[str, str]

    def size(self, twin: Twin) -> Size:
        """That layer's size."""
        return {"sparse": self.sparse, "active": self.active, "total": self.total}[twin]


class Crossing(NamedTuple):
    """Where a layer goes from memory-bound to compute-bound."""

    tokens: float | None
    """By interpolation on logarithmic axes; None where it stays on one side."""
    below: Bound
    """What binds it at the smallest batch that was measured."""


class Profile(NamedTuple):
    """Everything that was measured of one layer."""

    about: About
    points: tuple[Point, ...]
    is_complete: bool = True
    """False where it was stopped before the last batch."""

    @property
    def ceiling(self) -> Ceiling:
        """Medians over the batches."""
        ceilings = [point.ceiling for point in self.points]
        return Ceiling(
            median(ceiling.flops_per_s for ceiling in ceilings),
            median(ceiling.bytes_per_s for ceiling in ceilings),
        )

    def crossing(self, twin: Twin) -> Crossing:
        """Where the intensity of that layer passes the ridge."""
        steps = [(point.tokens, point.step(twin).intensity) for point in self.points]
        return crossing(steps, self.ceiling.ridge)


def crossing(intensities: Sequence[tuple[int, float]], ridge: float) -> Crossing:
    """Where (tokens, FLOPs for each byte), ascending in tokens, first pass `ridge`."""
    first = intensities[0][1]
    if first >= ridge:
        return Crossing(None, "compute")
    for (fewer, low), (more, high) in pairwise(intensities):
        if low < ridge <= high:
            share = (log(ridge) - log(low)) / (log(high) - log(low))
            return Crossing(exp(log(fewer) + share * (log(more) - log(fewer))), "memory")
    return Crossing(None, "memory")
