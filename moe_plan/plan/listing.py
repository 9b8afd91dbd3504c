"""What the catalogue holds, filtered and sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from moe_plan.plan.structure import Structure, is_of_kind, structure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.api import Model

SortKey = Literal["name", "total", "active"]


class Wanted(NamedTuple):
    """Which models to list; None and '' ask for nothing."""

    substring: str = ""
    attention: str | None = None
    min_total: int | None = None
    max_total: int | None = None
    is_moe: bool | None = None
    sort: SortKey = "name"


class Entry(NamedTuple):
    """One line of the list."""

    name: str
    source: str
    total: int
    active: int
    context: int | None
    """Longest context of the release, in tokens."""
    structure: Structure
    checkpoints: tuple[str, ...]
    """Further releases, by the names that `--weights` takes."""


def listing(models: Iterable[Model], wanted: Wanted) -> tuple[Entry, ...]:
    """The `models` that are wanted: by name, or by size with the smallest first."""
    found = [entry for entry in map(_entry, models) if _is_wanted(entry, wanted)]
    if wanted.sort == "total":
        found.sort(key=lambda entry: (entry.total, entry.name))
    elif wanted.sort == "active":
        found.sort(key=lambda entry: (entry.active, entry.name))
    else:
        found.sort(key=lambda entry: entry.name)
    return tuple(found)


def _entry(model: Model) -> Entry:
    spec = model.fields
    return Entry(
        model.name,
        spec.source,
        model.total_params,
        model.active_params,
        spec.context,
        structure(model),
        tuple(spec.checkpoints),
    )


def _is_wanted(entry: Entry, wanted: Wanted) -> bool:
    made_of = entry.structure
    return (
        wanted.substring.casefold() in entry.name.casefold()
        and (
            wanted.attention is None
            or any(is_of_kind(kind, wanted.attention) for kind in made_of.attention_kinds)
        )
        and (wanted.min_total is None or entry.total >= wanted.min_total)
        and (wanted.max_total is None or entry.total <= wanted.max_total)
        and (wanted.is_moe is None or wanted.is_moe == (made_of.experts is not None))
    )
