"""From two books with the same names to the lines of the ledger."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from moe_plan.plan.ledger import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.plan.ledger import Unit
    from moe_plan.witness.names import Place


def compared(
    group: str, unit: Unit, predicted: Mapping[Place, float], measured: Mapping[Place, float]
) -> Iterator[Line]:
    """One line for each name of each part, its layers summed; layers that differ follow, a line each.

    What stands in one book only is 0 in the other: a forgotten tensor is a difference, not a gap.
    """
    layers: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for where in dict.fromkeys((*predicted, *measured)):
        layers[where.part, where.name].append(where)
    for (part, name), places in layers.items():
        label = name if part == "decoder" else f"{part} {name}"
        pairs = {where: (predicted.get(where, 0), measured.get(where, 0)) for where in places}
        count = sum(where.layer is not None for where in places)
        note = f"{count} layers" if count > 1 else ""
        guess, seen = (sum(pair[side] for pair in pairs.values()) for side in (0, 1))
        yield Line(group, label, guess, seen, unit, note=note)
        if count > 1:
            wrong = {where: pair for where, pair in pairs.items() if pair[0] != pair[1]}
            yield from (Line(group, f"layer {w.layer} {label}", *pair, unit) for w, pair in wrong.items())
