"""From what a person wrote to a cluster. Nothing unknown becomes a default, and every default is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.hardware.choose import Chosen, chosen
from moe_plan.hardware.cluster import Cluster, far_link, node_link
from moe_plan.hardware.figures import sourced
from moe_plan.hardware.names import index
from moe_plan.hardware.notation import LOCAL, MOST, refused, written
from moe_plan.spec.hardware_catalogue import Catalogue, catalogue

if TYPE_CHECKING:
    from moe_plan.hardware.figures import Figure
    from moe_plan.hardware.names import Index
    from moe_plan.hardware.notation import Written
    from moe_plan.spec.hardware import Instance, System

LARGEST_UNKNOWN_NODE = 16
"""Accelerators that one machine may have where no node is known for them."""


class Shelf(NamedTuple):
    """The catalogue and its names, read once for many texts."""

    catalogue: Catalogue
    by_name: Index


def shelf() -> Shelf:
    """The shipped catalogue."""
    shipped = catalogue()
    return Shelf(shipped, index(shipped))


def resolve(text: str, on: Shelf | None = None) -> Cluster:
    """The cluster that `text` stands for; `local` is this machine.

    Raises InputError for what is not understood or not known, with the nearest names, and UnavailableError
    where `local` has no accelerator.
    """
    on = on or shelf()
    asked = written(text)
    if asked.name.casefold() == LOCAL:
        from moe_plan.hardware.local import local_cluster  # noqa: PLC0415  few look at the machine itself

        return local_cluster(asked, on.catalogue, on.by_name)
    found = chosen(asked, on.catalogue, on.by_name)
    if found.instance is not None:
        return _limited(_instance(asked, found, on.catalogue))
    if found.system is not None:
        return _limited(_system(asked, found, found.system))
    return _limited(_accelerators(asked, found, on.catalogue))


def _limited(found: Cluster) -> Cluster:
    if found.devices > MOST:
        raise refused(found.text, f"more than {MOST:,} accelerators or nodes")
    return found


def _instance(asked: Written, found: Chosen, catalogue: Catalogue) -> Cluster:
    cloud = catalogue.clouds[found.cloud]
    instance: Instance = cloud.instances[found.name]
    spec = found.device.spec
    system = _node_of(found, catalogue)
    nodes = (asked.nodes or 1) * (asked.number or 1)
    per_node, domain = instance.count, instance.count
    if system is not None and system.domain and instance.count == system.per_node:
        domain = min(system.domain, nodes * per_node)
    network = _of(instance.network, "network", cloud) or _network(found, system)
    return Cluster(
        asked.text,
        found.device,
        nodes,
        per_node,
        domain,
        node_link(spec, system.link if system else None) if domain > 1 else None,
        network if nodes > 1 or domain < nodes * per_node else None,
        _of(instance.host_memory, "host_memory", cloud),
        found.name,
        found.notes,
    )


def _system(asked: Written, found: Chosen, system: System) -> Cluster:
    nodes = (asked.nodes or 1) * (asked.number or 1) * system.nodes
    return _in_nodes(asked, found, system, (nodes, system.per_node))


def _accelerators(asked: Written, found: Chosen, catalogue: Catalogue) -> Cluster:
    system = _node_of(found, catalogue)
    slices = bool(asked.slice)
    count = found.chips or asked.number or 1
    if asked.nodes is not None:
        return _in_nodes(asked, found, system, (asked.nodes, count))
    if system is None or slices:
        if count > LARGEST_UNKNOWN_NODE and not slices:
            advice = f"write NODESxCOUNTx{found.name}, as in 2x8x{found.name}"
            raise refused(asked.text, f"no node of {found.device.name} is known that holds {count}; {advice}")
        return _in_nodes(asked, found, system, (1, count))
    if count <= system.per_node:
        return _in_nodes(asked, found, system, (1, count))
    if count % system.per_node:
        advice = "write NODESxCOUNTxNAME to say how they stand"
        raise refused(asked.text, f"{count} do not fill nodes of {system.per_node}; {advice}")
    nodes = count // system.per_node
    note = f"{count} are taken as {nodes} nodes of {system.per_node} ({system.name})"
    noted = found._replace(notes=(*found.notes, note))
    return _in_nodes(asked, noted, system, (nodes, system.per_node))


def _in_nodes(asked: Written, found: Chosen, system: System | None, shape: tuple[int, int]) -> Cluster:
    nodes, per_node = shape
    total = nodes * per_node
    fills = system is not None and per_node <= system.per_node
    reach = (system.domain or system.per_node) if system is not None and fills else per_node
    # A rack's link crosses its nodes; a node's own does not.
    domain = min(reach, total) if system is not None and system.domain else min(reach, per_node)
    is_part = bool(asked.slice)
    return Cluster(
        asked.text,
        found.device,
        nodes,
        per_node,
        1 if is_part else domain,
        _link(found, system) if domain > 1 and not is_part else None,
        _network(found, system) if total > domain else None,
        _of(system.host_memory, "host_memory", system) if system is not None and fills else None,
        system.name if system is not None and fills else "",
        found.notes,
    )


def _link(found: Chosen, system: System | None) -> Figure | None:
    return node_link(found.device.spec, system.link if system is not None else None)


def _network(found: Chosen, system: System | None) -> Figure | None:
    of_system = _of(system.network, "network", system) if system is not None else None
    return of_system or far_link(found.device.spec)


def _node_of(found: Chosen, catalogue: Catalogue) -> System | None:
    node = found.device.spec.node
    return catalogue.systems.get(node) if node else None


def _of(quoted: object, place: str, holder: object) -> Figure | None:
    """A figure of a system or of a cloud's instance."""
    return None if quoted is None else sourced(quoted, place, holder.sources)  # type: ignore[arg-type,attr-defined]
