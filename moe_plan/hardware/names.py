"""Names of hardware, however they are written: case, blanks, hyphens and vendors do not matter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.hardware_catalogue import Catalogue

VENDORS = {
    "nvidia": "nvidia",
    "amd": "amd",
    "google": "google",
    "tpu": "google",
    "aws": "aws",
    "amazon": "aws",
    "intel": "intel",
    "apple": "apple",
}
# Words that vendors put before a name and people leave out.
_FORE = frozenset({*VENDORS, "geforce", "tesla", "instinct", "radeon", "cloud", "com", "gpu"}) - {"tpu"}
_WORD = re.compile(r"[a-z0-9]+")

Kind = Literal["accelerator", "system", "instance"]


class Entry(NamedTuple):
    """What a name stands for."""

    kind: Kind
    name: str
    cloud: str = ""
    """Of an instance."""


class Index(NamedTuple):
    """Every name by its key."""

    entries: dict[str, Entry]
    families: dict[str, tuple[str, ...]]
    """Accelerators of a family, its default first."""
    slices: dict[str, tuple[str, int]]
    """Accelerator and cores of a chip by the beginning of a group's name: `v5litepod`."""


def key(text: str) -> str:
    """What two ways of writing one name have in common: `NVIDIA H100-SXM5` and `h100 sxm5` are `h100sxm5`."""
    words = _WORD.findall(text.casefold())
    while len(words) > 1 and words[0] in _FORE:
        words = words[1:]
    return "".join(words)


def index(catalogue: Catalogue) -> Index:
    """The names of the catalogue; the first bearer of a key keeps it, and a test sees that there is one."""
    entries: dict[str, Entry] = {}
    for text, entry in names(catalogue):
        entries.setdefault(key(text), entry)
    families: dict[str, list[str]] = {}
    for spec in catalogue.accelerators.values():
        if spec.family is not None:
            members = families.setdefault(key(spec.family), [])
            members.insert(0 if spec.family_default else len(members), spec.name)
    slices = {
        key(name): (spec.name, spec.slices.cores_per_chip)
        for spec in catalogue.accelerators.values()
        if spec.slices is not None
        for name in spec.slices.names
    }
    return Index(entries, {name: tuple(members) for name, members in families.items()}, slices)


def names(catalogue: Catalogue) -> Iterator[tuple[str, Entry]]:
    """Every name and alias in the catalogue, with what it stands for."""
    for accelerator in catalogue.accelerators.values():
        for name in (accelerator.name, *accelerator.aliases):
            yield name, Entry("accelerator", accelerator.name)
    for system in catalogue.systems.values():
        for name in (system.name, *system.aliases):
            yield name, Entry("system", system.name)
    for cloud in catalogue.clouds.values():
        for name in cloud.instances:
            yield name, Entry("instance", name, cloud.name)
