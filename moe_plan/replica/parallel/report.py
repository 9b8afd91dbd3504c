"""What ranks measured, as data that JSON can hold."""

from __future__ import annotations

from typing import Any, NamedTuple

from moe_plan.replica.parallel.calibrate import Point
from moe_plan.replica.parallel.phases import Phases


class Traffic(NamedTuple):
    """Bytes of one layer's exchanges in one direction, on one rank."""

    sent_payload_bytes: int
    received_payload_bytes: int
    sent_metadata_bytes: int
    received_metadata_bytes: int
    kept_bytes: int
    """Of both kinds: rows of a rank for itself."""


class LayerReport(NamedTuple):
    """One sparse layer on one rank."""

    where: str
    experts: int
    """Of all ranks, with weights."""
    choices: int
    """Experts and zero-compute experts."""
    top_k: int
    rounds_by_place: bool
    """See `expert_parallel.rounds_by_place`."""
    width: int
    itemsize: int
    chosen_TK: tuple[tuple[int, ...], ...]
    """Experts of each of this rank's tokens."""
    rows: int
    """Rows that this rank's experts computed."""
    dispatch: Traffic
    combine: Traffic
    seconds: Phases
    """Median over repeats."""


class RankReport(NamedTuple):
    """One rank."""

    rank: int
    tokens: int
    layers: tuple[LayerReport, ...]
    exchange: tuple[Point, ...]
    """Its calibration."""


class Difference(NamedTuple):
    """Logits of all ranks against those of one process."""

    elements: int
    """Whose bits differ."""
    largest: float
    """Absolute difference."""


class Equality(NamedTuple):
    """Logits of all ranks against those of one process that holds every expert."""

    tokens: int
    grouped: Difference
    """Each rank's sequences pass attention by themselves, and the experts together: see `lockstep`."""
    whole_batch: Difference
    """All sequences are one batch: products outside the experts have more rows, and may round differently."""
    largest_logit: float

    @property
    def is_bit_equal(self) -> bool:
        """Whether the exchange changed nothing at all."""
        return self.grouped.elements == 0


class EpReport(NamedTuple):
    """One batch over all ranks."""

    model: str
    ranks: int
    backend: str
    dtype: str
    returns: str
    """`rows` or `sums`: see `expert_parallel`."""
    seed: int
    repeats: int
    sequences: tuple[int, ...]
    length: int
    routing: dict[str, Any]
    by_rank: tuple[RankReport, ...]
    equality: Equality | None
    cores: int
    """Of the machine of rank 0, for all of its ranks."""
    load: float
    """Processes that ran or wanted to on that machine, over its last minute, these ranks among them."""

    @property
    def is_exact(self) -> bool:
        """Whether logits should be equal to the bit."""
        layers = self.by_rank[0].layers
        exact = not any(layer.rounds_by_place for layer in layers)
        return exact and (self.dtype, self.returns) == ("fp32", "rows")

    @property
    def imbalance(self) -> float:
        """Rows of the busiest rank over the mean of ranks, in the mean over layers; 1 without rows."""
        by_layer = zip(*([layer.rows for layer in rank.layers] for rank in self.by_rank), strict=True)
        ratios = [self.ranks * max(rows) / sum(rows) for rows in by_layer if sum(rows)]
        return sum(ratios) / len(ratios) if ratios else 1.0


def as_json(value: Any) -> Any:
    """The same with named tuples as objects, field by field."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value


def rank_report(told: dict[str, Any]) -> RankReport:
    """What a worker told as JSON, as it was."""
    layers = tuple(_layer(layer) for layer in told["layers"])
    points = tuple(Point(**point) for point in told["exchange"])
    return RankReport(told["rank"], told["tokens"], layers, points)


def equality_report(told: dict[str, Any] | None) -> Equality | None:
    """What rank 0 told as JSON, as it was."""
    if told is None:
        return None
    both = {name: Difference(**told[name]) for name in ("grouped", "whole_batch")}
    return Equality(**{**told, **both})


def _layer(told: dict[str, Any]) -> LayerReport:
    return LayerReport(
        **{
            **told,
            "chosen_TK": tuple(map(tuple, told["chosen_TK"])),
            "dispatch": Traffic(**told["dispatch"]),
            "combine": Traffic(**told["combine"]),
            "seconds": Phases(**told["seconds"]),
        }
    )
