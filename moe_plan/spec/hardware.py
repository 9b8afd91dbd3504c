"""What a person writes about hardware: an accelerator, a system built of them, a cloud's instances.

Nothing is computed here. Every figure is a quantity as its source prints it, with its unit and the name of
that source. Rates are dense, accumulated in fp32 where the key does not say otherwise; links and networks
are one way for one accelerator; a figure that is not confirmed is left out, and may be told under
`unconfirmed`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec.fields import Count, Frozen, Name, Text
from moe_plan.spec.hardware_figures import Bandwidth, Power, Rate, Size, SourceRef

PROFILE_FORM = r"^[1-9]g\.[0-9]{1,3}gb(\+(me|gfx))?$"

Vendor = Literal["nvidia", "amd", "google", "aws", "intel", "apple", "other"]
Alias = Annotated[str, Field(min_length=1, max_length=100)]
Parts = Annotated[int, Field(ge=1, le=64)]


class Memory(Frozen):
    """The memory that weights and caches live in."""

    kind: Literal["hbm", "gddr", "gddr-ecc", "unified"]
    """`gddr-ecc`: error correction is on and takes a sixteenth. `unified`: shared with the processor."""
    marketed: Size | None = None
    """As advertised; a GB of it is close to a GiB."""
    driver: Size | None = None
    """What nvidia-smi or amd-smi reports."""
    usable: Size | None = None
    """What a program sees: CUDA's total."""
    bandwidth: Bandwidth | None = None
    measured_bandwidth: Bandwidth | None = None


class Rates(Frozen):
    """Dense peaks by number format."""

    fp64: Rate | None = None
    fp64_tensor: Rate | None = None
    fp32: Rate | None = None
    tf32: Rate | None = None
    bf16: Rate | None = None
    fp16: Rate | None = None
    fp16_accumulate_fp16: Rate | None = None
    fp8: Rate | None = None
    fp8_accumulate_fp16: Rate | None = None
    fp6: Rate | None = None
    fp4: Rate | None = None
    int8: Rate | None = None
    int4: Rate | None = None


class Links(Frozen):
    """What joins an accelerator to others, one way."""

    nvlink: Bandwidth | None = None
    c2c: Bandwidth | None = None
    """To the processor of a superchip."""
    xgmi: Bandwidth | None = None
    """To all others of a node together."""
    xgmi_pair: Bandwidth | None = None
    ici: Bandwidth | None = None
    roce: Bandwidth | None = None
    neuronlink: Bandwidth | None = None
    pcie: Bandwidth | None = None
    network: Bandwidth | None = None
    """The network port of one accelerator, where nodes are built with one."""


class Slice(Frozen):
    """A part into which one accelerator can be cut."""

    count: Parts | None = None
    """How many of them one accelerator has room for."""
    compute: Parts
    memory: Parts


class Mig(Frozen):
    """NVIDIA's multi-instance GPU: slices by their profile's name."""

    compute_slices: Parts
    memory_slices: Parts
    source: Name
    default: bool = False
    """A profile named without its GPU is of this one."""
    profiles: Annotated[dict[Alias, Slice], Field(min_length=1, max_length=32)]
    """By their names, such as `1g.10gb`."""


class SliceNames(Frozen):
    """How a cloud names groups of these chips: `v5litepod-8`, `v5p-8`."""

    names: Annotated[tuple[Name, ...], Field(min_length=1)]
    cores_per_chip: Parts
    """The number in the name counts cores."""
    source: Name


class Accelerator(Frozen):
    """One GPU, TPU or other accelerator: the device that software sees."""

    kind: Literal["accelerator"]
    name: Name
    title: Text | None = None
    vendor: Vendor
    type: Literal["gpu", "apu", "tpu", "npu", "soc"] = "gpu"
    status: Literal["available", "announced"] = "available"
    dies: Parts = 1
    """Devices that software sees in one package, each with an equal share of its figures (MI250)."""
    family: Alias | None = None
    """A name that several accelerators share, such as H100."""
    family_default: bool = False
    """The family's name alone means this one."""
    aliases: tuple[Alias, ...] = ()
    sources: Annotated[dict[Name, SourceRef], Field(min_length=1)]
    memory: Memory
    rates: Rates = Rates()
    links: Links = Links()
    power: Power | None = None
    node: Name | None = None
    """The system that this accelerator is sold in."""
    slices: SliceNames | None = None
    mig: Mig | None = None
    unconfirmed: dict[Name, Text] = {}
    """Figures in circulation that could not be confirmed, by their place: `memory.driver`."""
    note: Text | None = None


class System(Frozen):
    """A node, or a rack of nodes, of one kind of accelerator."""

    kind: Literal["system"]
    name: Name
    title: Text | None = None
    aliases: tuple[Alias, ...] = ()
    sources: Annotated[dict[Name, SourceRef], Field(min_length=1)]
    accelerator: Name
    per_node: Count
    """Accelerators under one operating system."""
    nodes: Count = 1
    link: Literal["nvlink", "xgmi", "ici", "roce", "neuronlink", "pcie"] | None = None
    """Which of the accelerator's links joins them."""
    domain: Count | None = None
    """Accelerators that the link reaches; by default those of a node."""
    source: Name
    """Of how the system is composed."""
    network: Bandwidth | None = None
    """Between nodes, for one accelerator, one way."""
    host_memory: Size | None = None
    """Of one node."""
    note: Text | None = None


class Instance(Frozen):
    """One machine that a cloud rents out."""

    accelerator: Name
    count: Count
    source: Name
    network: Bandwidth | None = None
    """Between machines, for one accelerator, one way."""
    host_memory: Size | None = None


class Cloud(Frozen):
    """The machines of one provider, by the names they are ordered by."""

    kind: Literal["cloud"]
    name: Name
    title: Text | None = None
    sources: Annotated[dict[Name, SourceRef], Field(min_length=1)]
    instances: Annotated[dict[Name, Instance], Field(min_length=1)]
    note: Text | None = None


HardwareSpec = Accelerator | System | Cloud
