"""One piece of hardware in full: how it was understood, and every figure with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.table import Column, Document, Row, Table, texts

if TYPE_CHECKING:
    from moe_plan.hardware.cluster import Cluster
    from moe_plan.hardware.figures import Figure
    from moe_plan.plan.hardware import Detail
    from moe_plan.report.csv import Value

_FIGURES = (Column("figure", "left"), Column("value"), Column("confidence", "left"), Column("source", "left"))
_SHAPE = (Column("hardware", "left"), Column("", "left"))


def document(asked: Detail) -> Document:
    """The shape, the figures, and what is not known."""
    cluster = asked.cluster
    spec = cluster.device.spec
    sources = {figure.source: figure.ref for figure in asked.figures}
    notes = [f"{source}: {ref}" for source, ref in sources.items()]
    notes += [f"{figure.place}: {text}" for figure in asked.figures for text in _remarks(figure)]
    if spec.note:
        notes.append(spec.note)
    heading = (f"{cluster.device.name}: {spec.title or spec.name}", *cluster.notes)
    shape = Table(_SHAPE, tuple(Row(texts(*pair)) for pair in _shape(cluster)))
    rows = [_row(figure) for figure in asked.figures]
    rows += [Row(texts(gap.place, numbers.MISSING, numbers.MISSING, gap.reason)) for gap in asked.absent]
    return Document((shape, Table(_FIGURES, tuple(rows))), tuple(notes), heading)


def content(asked: Detail) -> dict[str, object]:
    """The JSON without its format line."""
    cluster, spec = asked.cluster, asked.cluster.device.spec
    memory = cluster.device.memory()
    return {
        "text": cluster.text,
        "device": cluster.device.name,
        "accelerator": spec.name,
        "title": spec.title,
        "vendor": spec.vendor,
        "status": spec.status,
        "devices": cluster.devices,
        "nodes": cluster.nodes,
        "per_node": cluster.per_node,
        "domain": cluster.domain,
        "memory_bytes": memory.bytes if memory else None,
        "memory_basis": memory.basis if memory else None,
        "link": _record(cluster.link),
        "network": _record(cluster.network),
        "host_memory": _record(cluster.host_memory),
        "system": cluster.system or None,
        "notes": list(cluster.notes),
        "figures": [_record(figure) for figure in asked.figures],
        "absent": [absent._asdict() for absent in asked.absent],
        "note": spec.note,
    }


def csv_lines(asked: Detail) -> tuple[list[str], list[list[Value]]]:
    """Header and one line a figure; what is not known has an empty value."""
    header = ["figure", "value", "amount", "confidence", "source", "ref", "note"]
    known: list[list[Value]] = [
        [
            found.place,
            found.printed,
            found.amount,
            found.confidence,
            found.source,
            found.ref,
            "; ".join(_remarks(found)) or None,
        ]
        for found in asked.figures
    ]
    unknown: list[list[Value]] = [
        [absent.place, None, None, None, None, None, absent.reason] for absent in asked.absent
    ]
    return header, known + unknown


def _shape(cluster: Cluster) -> list[tuple[str, str]]:
    device = cluster.device
    memory = device.memory()
    of_each = "" if cluster.devices == 1 else " each"
    shown = [
        ("accelerators", f"{cluster.devices} {numbers.TIMES} {device.name}"),
        ("nodes", f"{cluster.nodes} of {cluster.per_node}"),
        ("memory", f"{numbers.size(memory.bytes)}{of_each}" if memory else numbers.MISSING),
        *_share(cluster),
        ("known as", memory.basis if memory else "nothing is known; a unified memory is given as NAME:64GB"),
    ]
    if cluster.link is not None:
        shown.append(("link", f"{_of(cluster.link)} one way, joins {cluster.domain}"))
    if cluster.network is not None:
        shown.append(("network", f"{_of(cluster.network)} one way, an accelerator"))
    if cluster.host_memory is not None:
        shown.append(("host memory", f"{cluster.host_memory.printed} a node"))
    if cluster.system:
        shown.append(("as in", cluster.system))
    return shown


def _share(cluster: Cluster) -> list[tuple[str, str]]:
    """Of a slice: its share of the GPU whose figures stand below, and how many GPUs the slices take."""
    part, mig = cluster.device.part, cluster.device.spec.mig
    if part is None:
        return []
    shown = [
        (
            "of a whole GPU",
            f"{part.compute[0]}/{part.compute[1]} of rates, {part.memory[0]}/{part.memory[1]} of memory",
        )
    ]
    room = mig.profiles[part.profile].count if mig is not None else None
    if room is not None:
        gpus = -(-cluster.per_node // room)
        shown.append(("GPUs", f"{gpus} a node, each with room for {room}"))
    return shown


def _of(figure: Figure) -> str:
    name = figure.place.partition(".")[2]
    return f"{name} {figure.printed}" if name else figure.printed


def _row(figure: Figure) -> Row:
    return Row(texts(figure.place, figure.printed, figure.confidence, figure.source))


def _remarks(figure: Figure) -> list[str]:
    """The figure's own note, and the values that others have for it."""
    also = [
        f"also {other.printed} ({other.source}{f': {other.note}' if other.note else ''})"
        for other in figure.also
    ]
    return [*([figure.note] if figure.note else []), *also]


def _record(figure: Figure | None) -> dict[str, object] | None:
    if figure is None:
        return None
    return {**figure._asdict(), "also": [other._asdict() for other in figure.also]}
