"""How much memory this process could take on this machine, and what sets the bound."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import UnavailableError
from moe_plan.hardware.cgroup import headrooms, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/")
_PAGES = re.compile(r"Pages (free|speculative|inactive): +([0-9]+)\.")
_PAGE_SIZE = re.compile(r"page size of ([0-9]+) bytes")
_VM_STAT = ("/usr/bin/vm_stat",)
_LONGEST_WAIT_SECONDS = 5


class Available(NamedTuple):
    """Memory that could be taken now, and what sets the bound."""

    bytes: int
    source: str


def available_memory(root: Path = ROOT, platform: str = sys.platform) -> Available:
    """Memory of this machine that this process could take without swapping or being killed.

    The least of what the kernel calls available, what every control group leaves, and what the process's
    own limits leave. Raises UnavailableError where the system does not say.
    """
    if platform == "linux":
        bounds = [_linux_memory(root), *(Available(*headroom) for headroom in headrooms(root))]
    elif platform == "darwin":
        bounds = [_macos_memory()]
    else:
        message = f"free memory cannot be told on {platform}; the replica runs on Linux and macOS"
        raise UnavailableError(message)
    return min([*bounds, *_process_limits(root)], key=lambda bound: bound.bytes)


def _linux_memory(root: Path) -> Available:
    """MemAvailable; on kernels before 3.14 free pages and those of files."""
    figures = {}
    for line in lines_of(root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        digits = rest.strip().removesuffix(" kB")
        if digits.isascii() and digits.isdigit():
            figures[name] = int(digits) << 10
    if "MemAvailable" in figures:
        return Available(figures["MemAvailable"], "MemAvailable in /proc/meminfo")
    if "MemFree" in figures:
        return Available(figures["MemFree"] + figures.get("Cached", 0), "MemFree and Cached in /proc/meminfo")
    message = "free memory cannot be told: /proc/meminfo names neither MemAvailable nor MemFree"
    raise UnavailableError(message)


def _macos_memory() -> Available:
    """Free, speculative and inactive pages."""
    try:
        done = subprocess.run(  # noqa: S603  a fixed command of the system
            _VM_STAT, capture_output=True, text=True, check=True, timeout=_LONGEST_WAIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"free memory cannot be told: vm_stat failed ({type(error).__name__})"
        raise UnavailableError(message) from None
    page = _PAGE_SIZE.search(done.stdout)
    pages = _PAGES.findall(done.stdout)
    if page is None or not pages:
        message = "free memory cannot be told: vm_stat printed nothing that is understood"
        raise UnavailableError(message)
    n_bytes = int(page[1]) * sum(int(count) for _, count in pages)
    return Available(n_bytes, "free, speculative and inactive pages of vm_stat")


def _process_limits(root: Path) -> Iterator[Available]:
    """What `ulimit` leaves of address space and of data; a reserved address counts there as a used one."""
    import resource  # noqa: PLC0415  not on Windows

    pages = [*" ".join(lines_of(root / "proc/self/statm")).split(), *["0"] * 7]
    for name, limit, field in (("-v", resource.RLIMIT_AS, 0), ("-d", resource.RLIMIT_DATA, 5)):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            used = int(pages[field]) * resource.getpagesize() if pages[field].isdigit() else 0
            yield Available(max(0, most - used), f"the process's own limit, ulimit {name}")
