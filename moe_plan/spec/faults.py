"""Pydantic's errors as faults: one for each mistake a person made.

Pydantic reports each branch of a union and both sides of a misspelt key. Errors are therefore grouped
by where they stand in the document, and one of each group is kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_plan.spec.shape import expected_at
from moe_plan.spec.yaml_reader import Document, Path, Value, value_at
from moe_plan.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

# Blocks stand in these mappings, and pydantic puts the block's kind into an error's location. So it does
# with the kind of a `scaling`, which is itself a value of a kind.
_UNIONS = frozenset({"attention", "ffn"})
_UNION = "scaling"
_MOST_MISSPELT = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One of pydantic's errors, at the deepest path of the document that its location names."""

    kind: str
    """Pydantic's error type, or `key` where the key itself has the wrong form."""
    path: Path
    missing: str = ""
    """The key that is not there."""

    @property
    def is_type(self) -> bool:
        """Whether the value is of another type altogether."""
        return self.kind.endswith("_type")


def faults_of(details: Iterable[ErrorDetails], schema: type[BaseModel], document: Document) -> list[Fault]:
    """One fault for each mistake: no second branch of a union, no echo of a misspelt key."""
    faults = [_fault(detail, document) for detail in details]
    kept = _without_union_branches([fault for fault in faults if not _is_echo(fault, schema, document)])
    misspelt = _misspelt(kept)
    return [
        fault for fault in kept if not (fault.kind == "missing" and fault.missing in misspelt[fault.path])
    ]


def _fault(detail: ErrorDetails, document: Document) -> Fault:
    """Walk `loc` from the left and skip what is not in the document: tags of unions, missing keys."""
    path: Path = ()
    loc = detail["loc"]
    tagged = False
    for part in loc:
        in_union = path[-2:-1] and (path[-2] in _UNIONS or path[-1] == _UNION)
        is_tag = bool(in_union) and not tagged and part == _kind(document, path)
        tagged = is_tag
        if not is_tag and (*path, part) in document.places:
            path = (*path, part)
    if loc and loc[-1] == "[key]":
        return Fault("key", path)
    missing = str(loc[-1]) if detail["type"] == "missing" else ""
    return Fault(detail["type"], path, missing)


def _kind(document: Document, path: Path) -> Value:
    value = value_at(document, path)
    return value.get("kind") if isinstance(value, dict) else None


def _is_echo(fault: Fault, schema: type[BaseModel], document: Document) -> bool:
    """A list whose items failed is also called too short, although it is not."""
    if fault.kind != "too_short":
        return False
    value = value_at(document, fault.path)
    least = next((m.bound("min_length") for m in expected_at(schema, fault.path, document.value)), None)
    return isinstance(value, tuple) and least is not None and len(value) >= least


def _without_union_branches(faults: Sequence[Fault]) -> list[Fault]:
    inner = {fault.path[:depth] for fault in faults for depth in range(len(fault.path))}
    settled = {fault.path for fault in faults if not fault.is_type} | inner
    # A number out of bounds is also none of the words that may stand in its place.
    bounded = {fault.path for fault in faults if not fault.is_type and fault.kind != "literal_error"}
    seen: set[tuple[Path, str, str]] = set()
    kept = []
    for fault in faults:
        identity = (fault.path, "" if fault.is_type else fault.kind, fault.missing)
        is_branch = fault.path in (settled if fault.is_type else bounded)
        is_branch &= fault.is_type or fault.kind == "literal_error"
        if identity not in seen and not is_branch:
            seen.add(identity)
            kept.append(fault)
    return kept


def _misspelt(faults: Iterable[Fault]) -> dict[Path, set[str]]:
    """Missing keys that an unknown key of the same mapping was meant to be."""
    missing: dict[Path, set[str]] = defaultdict(set)
    unknown: dict[Path, list[str]] = defaultdict(list)
    for fault in faults:
        if fault.kind == "missing":
            missing[fault.path].add(fault.missing)
        elif fault.kind == "extra_forbidden":
            unknown[fault.path[:-1]].append(str(fault.path[-1]))
    meant: dict[Path, set[str]] = defaultdict(set)
    for path, keys in unknown.items():
        for key in keys[:_MOST_MISSPELT]:
            meant[path].update(nearest(key, missing[path])[:1])
    return meant
