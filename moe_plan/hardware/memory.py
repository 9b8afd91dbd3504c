"""How much of an accelerator's memory programs have: as reported, or told from what is printed on it.

A marketing GB is close to a GiB, the driver keeps a part, and error correction in GDDR6 takes a sixteenth.
The reserves and factors are those of the cards whose three sizes are known (docs/hardware.md has the table).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.hardware.figures import figure

if TYPE_CHECKING:
    from moe_plan.hardware.figures import Figure
    from moe_plan.spec.hardware import Accelerator

GIB = 1 << 30
# The driver's reserve on NVIDIA cards: 0.45 GiB or 0.4 %, whichever is more. AMD's reports nothing less.
_RESERVE_BYTES, _RESERVE_PER_MILLE = GIB * 45 // 100, 4
# Usable per mille of a marketing GB taken as GiB.
_USABLE_PER_MILLE = {"hbm": 985, "gddr": 980, "gddr-ecc": 925, "unified": 930}
APPLE_PERCENT = 75
"""What a Mac lets its GPU wire by default."""


class UsableMemory(NamedTuple):
    """Bytes that weights, caches and engines share, and how they are known."""

    bytes: int
    basis: str


def usable_memory(spec: Accelerator, given_bytes: int | None = None) -> UsableMemory | None:
    """Memory of one accelerator that a program can have; None where nothing is known.

    `given_bytes` is the memory of a machine whose GPU shares it, as the user wrote it.
    """
    if given_bytes is not None and spec.memory.kind == "unified":
        return _shared(spec, given_bytes)
    usable, driver = figure(spec, "memory.usable"), figure(spec, "memory.driver")
    if usable is not None:
        return UsableMemory(usable.amount, f"a program sees {usable.printed} ({usable.confidence})")
    if driver is not None:
        return _less_reserve(spec, driver)
    marketed = figure(spec, "memory.marketed")
    return None if marketed is None else _of_marketed(spec, marketed)


def _shared(spec: Accelerator, given_bytes: int) -> UsableMemory:
    if spec.vendor == "apple":
        basis = f"{APPLE_PERCENT} % of the machine's memory, which macOS lets its GPU wire by default"
        return UsableMemory(given_bytes * APPLE_PERCENT // 100, basis)
    share = _USABLE_PER_MILLE["unified"]
    basis = f"estimated: {share / 10:g} % of the machine's memory, as on a GB10"
    return UsableMemory(given_bytes * share // 1000, basis)


def driver_reserve(vendor: str, reported_bytes: int) -> int:
    """What NVIDIA's driver keeps of the memory that it reports; AMD's reports what there is to have."""
    return max(_RESERVE_BYTES, reported_bytes * _RESERVE_PER_MILLE // 1000) if vendor == "nvidia" else 0


def _less_reserve(spec: Accelerator, driver: Figure) -> UsableMemory:
    reserve = driver_reserve(spec.vendor, driver.amount)
    if not reserve:
        return UsableMemory(driver.amount, f"the driver reports {driver.printed}")
    basis = f"estimated: the {driver.printed} of the driver less its reserve of {reserve / GIB:.2f} GiB"
    return UsableMemory(driver.amount - reserve, basis)


def _of_marketed(spec: Accelerator, marketed: Figure) -> UsableMemory:
    share = _USABLE_PER_MILLE[spec.memory.kind]
    n_bytes = marketed.amount * share // 1000
    basis = f"estimated: {share / 10:g} % of the {marketed.printed} printed on it, a GB taken as a GiB"
    return UsableMemory(n_bytes, basis)
