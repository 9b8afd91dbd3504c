"""The models that a command line names: every fault in any of them is reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.api import Model, checked, model
from moe_plan.errors import InputError, UsageError
from moe_plan.spec.catalogue import find_with_notes, names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.errors import Problem


def given_models(references: Iterable[str]) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    """The models, and the loader's warnings as lines. Raises InputError with the faults of all."""
    found: list[Model] = []
    notes: list[str] = []
    faults: list[Problem] = []
    more = 0
    references = tuple(references)
    if references.count("-") > 1:
        message = "standard input can be read once; - stands twice"
        raise UsageError(message)
    for reference in references:
        try:
            spec, warnings = find_with_notes(reference)
        except InputError as error:
            faults += error.problems
            more += error.more
        else:
            counted = checked(model(spec))
            found.append(counted)
            notes += [warning.render() for warning in warnings]
            if reference not in names():
                from moe_plan.plan.published import disagreements  # noqa: PLC0415  the catalogue agrees

                notes += [warning.render() for warning in disagreements(counted, reference)]
    if faults:
        raise InputError(faults, more)
    return tuple(found), tuple(notes)
