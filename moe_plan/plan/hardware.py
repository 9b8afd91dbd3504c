"""What hardware there is: the catalogue filtered, one entry in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from moe_plan.hardware.cluster import Cluster, Device, far_link, node_link, own_link
from moe_plan.hardware.figures import Absent, Figure, absent, figures, sourced
from moe_plan.hardware.names import key
from moe_plan.hardware.notation import LOCAL, written
from moe_plan.hardware.resolve import Shelf, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.hardware.memory import UsableMemory
    from moe_plan.spec.hardware import Accelerator

Kind = Literal["accelerator", "system", "instance"]
KINDS: tuple[Kind, ...] = ("accelerator", "system", "instance")
NAMED_RATES = ("bf16", "fp16", "fp8", "fp4", "int8")


class Wanted(NamedTuple):
    """Which hardware to list; None and '' ask for nothing."""

    substring: str = ""
    vendor: str | None = None
    kind: Kind | None = None

    @property
    def is_plain(self) -> bool:
        """Whether no option narrows the list."""
        return self.vendor is None and self.kind is None


class Entry(NamedTuple):
    """One line of the list: an accelerator, or machines made of one."""

    kind: Kind
    name: str
    title: str
    vendor: str
    cloud: str
    device: Device
    nodes: int
    per_node: int
    memory: UsableMemory | None
    """Of one accelerator."""
    bandwidth: int | None
    rates: dict[str, int | None]
    """By number format, of one accelerator."""
    link: Figure | None
    network: Figure | None
    host_memory: Figure | None
    power: int | None


class Detail(NamedTuple):
    """One text as it is understood, with every figure of its accelerator."""

    cluster: Cluster
    figures: tuple[Figure, ...]
    absent: tuple[Absent, ...]


def is_one(text: str, on: Shelf) -> bool:
    """Whether `text` means one thing, and not a part of names: a name, an alias, a count, a path.

    Raises InputError where it cannot be read at all.
    """
    asked = written(text)
    says_more = (asked.number, asked.nodes, asked.memory_gb, asked.slice) != (None, None, None, "")
    return asked.is_path or says_more or asked.name.casefold() == LOCAL or key(text) in on.by_name.entries


def detail(text: str, on: Shelf) -> Detail:
    """Everything about what `text` stands for. Raises InputError where that is nothing."""
    cluster = resolve(text, on)
    spec = cluster.device.spec
    return Detail(cluster, figures(spec), absent(spec))


def listing(on: Shelf, wanted: Wanted) -> tuple[Entry, ...]:
    """The entries that are wanted: accelerators, then systems, then instances, each by name."""
    return tuple(entry for entry in _entries(on) if _is_wanted(entry, wanted))


def _entries(on: Shelf) -> Iterator[Entry]:
    catalogue = on.catalogue
    for spec in catalogue.accelerators.values():
        whole = _entry("accelerator", spec.name, spec.title or spec.name, spec)
        yield whole._replace(link=own_link(spec), network=far_link(spec))
    for system in catalogue.systems.values():
        spec = catalogue.accelerators[system.accelerator]
        entry = _entry("system", system.name, system.title or system.name, spec)
        yield entry._replace(
            nodes=system.nodes,
            per_node=system.per_node,
            link=node_link(spec, system.link),
            network=sourced(system.network, "network", system.sources) if system.network else far_link(spec),
            host_memory=sourced(system.host_memory, "host_memory", system.sources)
            if system.host_memory
            else None,
        )
    for cloud in catalogue.clouds.values():
        for name, instance in cloud.instances.items():
            spec = catalogue.accelerators[instance.accelerator]
            host = instance.host_memory
            yield _entry("instance", name, cloud.title or cloud.name, spec)._replace(
                cloud=cloud.name,
                per_node=instance.count,
                network=sourced(instance.network, "network", cloud.sources) if instance.network else None,
                host_memory=sourced(host, "host_memory", cloud.sources) if host else None,
            )


def _entry(kind: Kind, name: str, title: str, spec: Accelerator) -> Entry:
    device = Device(spec)
    power = next((found.amount for found in figures(spec) if found.place == "power"), None)
    return Entry(
        kind,
        name,
        title,
        spec.vendor,
        "",
        device,
        1,
        1,
        device.memory(),
        device.bandwidth(),
        {number_format: device.rate(number_format) for number_format in NAMED_RATES},
        None,
        None,
        None,
        power,
    )


def _is_wanted(entry: Entry, wanted: Wanted) -> bool:
    spec = entry.device.spec
    texts: tuple[str, ...] = (entry.name, entry.title, entry.cloud)
    if entry.kind == "accelerator":
        texts += (*spec.aliases, spec.family or "")
    part = key(wanted.substring)
    return (
        (not part or any(part in key(text) for text in texts))
        and wanted.vendor in (None, entry.vendor)
        and wanted.kind in (None, entry.kind)
    )
