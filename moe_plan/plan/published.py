"""The vendor's own figures held against the layers: where they disagree, the spec or the figure is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.errors import Problem
from moe_plan.units import printed_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.api import Model

# Vendors round and cut digits, and choose what an active figure counts.
TOTAL_TOLERANCE = 0.02
ACTIVE_TOLERANCE = 0.1


def disagreements(model: Model, where: str) -> Iterator[Problem]:
    """Warnings about published figures that the layers of `model` do not give; `where` names its spec."""
    published, total = model.fields.published, model.total_params
    if published.exact is not None and published.exact != total:
        yield _warning(where, "exact", f"{published.exact:,} parameters, but the layers sum to {total:,}")
    if published.total is not None and not _near(published.total, total, TOTAL_TOLERANCE):
        yield _warning(where, "total", f"{published.total} parameters, but the layers sum to {total:,}")
    active = {
        "compute": model.active_compute_params,
        "body": model.active_body_params,
    }.get(published.convention or "", model.active_params)
    if published.active is not None and not _near(published.active, active, ACTIVE_TOLERANCE):
        yield _warning(where, "active", f"{published.active} parameters, but a token uses {active:,}")


def _near(printed: str, count: int, tolerance: float) -> bool:
    figure = float(printed_count(printed))
    return abs(count - figure) <= tolerance * figure


def _warning(where: str, key: str, message: str) -> Problem:
    return Problem("MP203", where, None, None, f"published.{key}", message, severity="warning")
