"""Hardware to plan for: so many of one accelerator, in nodes, joined by links."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.hardware.figures import Figure, figure
from moe_plan.hardware.memory import UsableMemory, usable_memory

if TYPE_CHECKING:
    from moe_plan.spec.hardware import Accelerator

_NODE_LINKS = ("nvlink", "xgmi", "ici", "roce", "neuronlink", "pcie")
# How far a bridge reaches in a machine of unknown make is not known; these reach every card in it.
_ANY_MACHINE = ("roce", "pcie")
_FAR = ("links.network", "links.roce")


class Part(NamedTuple):
    """A slice of an accelerator, as shares of it."""

    profile: str
    compute: tuple[int, int]
    """Numerator and denominator."""
    memory: tuple[int, int]
    note: str = "NVML reports what a slice really has"


def die_of(spec: Accelerator) -> Part | None:
    """The part of a package that software sees as one device; None where that is all of it."""
    share = (1, spec.dies)
    return Part(f"1of{spec.dies}", share, share, "one die of a package") if spec.dies > 1 else None


class Device(NamedTuple):
    """One accelerator as a program sees it: whole, or one slice of it."""

    spec: Accelerator
    part: Part | None = None
    given_memory_bytes: int | None = None
    """Of a machine that shares its memory with the GPU, as the user wrote it."""
    found_memory_bytes: int | None = None
    """As the driver of this machine reports it to programs."""

    @property
    def name(self) -> str:
        """`h100-sxm`, `h100-sxm/1g.10gb`."""
        return f"{self.spec.name}/{self.part.profile}" if self.part else self.spec.name

    def memory(self) -> UsableMemory | None:
        """What weights, caches and engines share; None where nothing is known of it."""
        if self.found_memory_bytes is not None:
            return UsableMemory(self.found_memory_bytes, "what the driver of this machine leaves to programs")
        whole = usable_memory(self.spec, self.given_memory_bytes)
        if whole is None or self.part is None:
            return whole
        share, all_of_it = self.part.memory
        basis = f"estimated: {share}/{all_of_it} of a whole one; {self.part.note}"
        return UsableMemory(whole.bytes * share // all_of_it, basis)

    def bandwidth(self) -> int | None:
        """Peak bytes/s of its memory."""
        return self._shared("memory.bandwidth", self.part.memory if self.part else (1, 1))

    def rate(self, number_format: str) -> int | None:
        """Dense peak in FLOP/s, or operations/s of integers; None where it is not known or not there."""
        return self._shared(f"rates.{number_format}", self.part.compute if self.part else (1, 1))

    def _shared(self, place: str, share: tuple[int, int]) -> int | None:
        whole = figure(self.spec, place)
        return None if whole is None else whole.amount * share[0] // share[1]


class Cluster(NamedTuple):
    """What one text on a command line or in a plan stands for."""

    text: str
    device: Device
    nodes: int
    per_node: int
    """Devices of one node."""
    domain: int
    """Devices that the link joins."""
    link: Figure | None = None
    """One way, of one device; None where there is one device, or nothing is known."""
    network: Figure | None = None
    """Between domains, one way, for one device."""
    host_memory: Figure | None = None
    """Of one node."""
    system: str = ""
    """The system or instance that was named, or that the accelerator is sold in."""
    notes: tuple[str, ...] = ()
    """What was taken for granted."""

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.nodes * self.per_node


def node_link(spec: Accelerator, name: str | None) -> Figure | None:
    """The link called `name`; without one, that of the node it is sold in, or what any machine has."""
    if name is not None:
        return figure(spec, f"links.{name}")
    return _first(spec, _NODE_LINKS if spec.node else _ANY_MACHINE)


def own_link(spec: Accelerator) -> Figure | None:
    """The fastest link that the accelerator itself has."""
    return _first(spec, _NODE_LINKS)


def _first(spec: Accelerator, links: tuple[str, ...]) -> Figure | None:
    found = (figure(spec, f"links.{link}") for link in links)
    return next((link for link in found if link is not None), None)


def far_link(spec: Accelerator) -> Figure | None:
    """The accelerator's own way out of its node."""
    return next((found for place in _FAR if (found := figure(spec, place)) is not None), None)
