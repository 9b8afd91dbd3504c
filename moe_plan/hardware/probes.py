"""The edge to this machine: what its drivers and commands say, never for longer than a few seconds.

Each probe gives what it found, or raises ProbeError with the reason why it cannot tell. Tests bring a
machine of their own: an Edge with its own root, commands and NVML.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from moe_plan.hardware.cgroup import lines_of

LONGEST_WAIT_SECONDS = 5.0
_MOST_OUTPUT = 1 << 20
_MIB = 1 << 20
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_AMD_SMI = ("amd-smi", "static", "--asic", "--vram", "--json")
_AMD_VENDOR = "0x1002"


class ProbeError(Exception):
    """A way of looking that found nothing; the text says why."""


class Found(NamedTuple):
    """One accelerator of this machine."""

    name: str
    """As its driver has it."""
    vendor: str
    memory_bytes: int
    """As its driver reports it; of a Mac, what its GPU may wire; 0 where the driver tells none."""


Run = Callable[[Sequence[str]], str]


def run(command: Sequence[str]) -> str:
    """What a command prints. Raises ProbeError where it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603  fixed commands of the drivers
            command, capture_output=True, check=True, timeout=LONGEST_WAIT_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        message = f"no {command[0]}"
        raise ProbeError(message) from None
    except subprocess.TimeoutExpired:
        message = f"{command[0]} did not answer within {LONGEST_WAIT_SECONDS:g} s"
        raise ProbeError(message) from None
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{command[0]} failed ({type(error).__name__})"
        raise ProbeError(message) from None
    return done.stdout[:_MOST_OUTPUT].decode("utf-8", "replace")


def nvml() -> Any:
    """The module of nvidia-ml-py. Raises ProbeError where it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        message = "nvidia-ml-py is not installed (pip install 'moe-plan[nvidia]')"
        raise ProbeError(message) from None


class Edge(NamedTuple):
    """Everything of this machine that a probe touches."""

    root: Path = Path("/")
    platform: str = sys.platform
    environ: Mapping[str, str] = os.environ
    run: Run = run
    nvml: Callable[[], Any] = nvml


def of_nvml(edge: Edge) -> tuple[Found, ...]:
    """NVIDIA's GPUs, or the slices of those that are cut, through NVML."""
    library = edge.nvml()
    return _within(lambda: _nvml_devices(library), "NVML")


def of_nvidia_smi(edge: Edge) -> tuple[Found, ...]:
    """NVIDIA's GPUs as nvidia-smi lists them; slices are not told."""
    found = []
    for line in edge.run(_NVIDIA_SMI).splitlines():
        name, _, mebibytes = line.rpartition(",")
        memory = mebibytes.strip()
        # [N/A] where the GPU shares the machine's.
        if name.strip(", ") and (memory.isdigit() or memory.startswith("[")):
            size = int(memory) * _MIB if memory.isdigit() else 0
            found.append(Found(name.strip(), "nvidia", size))
    return _some(found, "nvidia-smi lists no GPU")


def of_amd_smi(edge: Edge) -> tuple[Found, ...]:
    """AMD's GPUs as amd-smi lists them."""
    try:
        document = json.loads(edge.run(_AMD_SMI))
        # Older versions print the list alone.
        gpus = document["gpu_data"] if isinstance(document, dict) else document
        found = [
            Found(str(gpu["asic"]["market_name"]), "amd", int(gpu["vram"]["size"]["value"]) * _MIB)
            for gpu in gpus
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "amd-smi printed nothing that is understood"
        raise ProbeError(message) from None
    return _some(found, "amd-smi lists no GPU")


def of_sysfs(edge: Edge) -> tuple[Found, ...]:
    """AMD's GPUs from the kernel's own files, which seldom tell the name."""
    found = []
    folder = edge.root / "sys/class/drm"
    for card in sorted(folder.iterdir()) if folder.is_dir() else ():
        device = card / "device"
        if "-" in card.name or _line(device / "vendor") != _AMD_VENDOR:
            continue
        total = _line(device / "mem_info_vram_total")
        if card.name.startswith("card") and total.isdigit():
            name = _line(device / "product_name") or f"AMD device {_line(device / 'device')}"
            found.append(Found(name, "amd", int(total)))
    return _some(found, "no AMD GPU in /sys/class/drm")


def of_sysctl(edge: Edge) -> tuple[Found, ...]:
    """The GPU of a Mac, and how much of the machine's memory it may wire."""
    if edge.platform != "darwin":
        message = "this is no Mac"
        raise ProbeError(message)
    name = _sysctl(edge, "machdep.cpu.brand_string")
    memory = _sysctl(edge, "hw.memsize")
    if not name.startswith("Apple") or not memory.isdigit():
        message = "sysctl tells of no Apple silicon"
        raise ProbeError(message)
    limit = _sysctl(edge, "iogpu.wired_limit_mb")
    wired = int(limit) * _MIB if limit.isdigit() and int(limit) else int(memory) * 75 // 100
    return (Found(name, "apple", min(wired, int(memory))),)


def _nvml_devices(library: Any) -> tuple[Found, ...]:
    library.nvmlInit()
    try:
        found: list[Found] = []
        for index in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(index)
            found += _slices(library, handle) or [_nvml_device(library, handle)]
        return _some(found, "NVML counts no GPU")
    finally:
        library.nvmlShutdown()


def _slices(library: Any, handle: Any) -> list[Found]:
    """The slices of a GPU that is cut; none of one that is whole or cannot be cut."""
    try:
        current, _ = library.nvmlDeviceGetMigMode(handle)
        if not current:
            return []
        most = library.nvmlDeviceGetMaxMigDeviceCount(handle)
    except library.NVMLError:
        return []
    found = []
    for index in range(most):
        try:
            found.append(_nvml_device(library, library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))
        except library.NVMLError:
            # Fewer slices exist than could.
            continue
    return found


def _nvml_device(library: Any, handle: Any) -> Found:
    name = library.nvmlDeviceGetName(handle)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    try:
        total = int(library.nvmlDeviceGetMemoryInfo(handle).total)
    except library.NVMLError:
        # A GB10 shares the machine's memory, and NVML tells none.
        total = 0
    return Found(text, "nvidia", total)


def _within(work: Callable[[], tuple[Found, ...]], what: str) -> tuple[Found, ...]:
    """The result of `work`, whose library may hang in the driver: it is then left behind, not waited for."""
    results: list[tuple[Found, ...] | Exception] = []

    def worker() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  NVML's errors are classes of its own
            results.append(error)

    thread = Thread(target=worker, daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT_SECONDS)
    if not results:
        message = f"{what} did not answer within {LONGEST_WAIT_SECONDS:g} s"
        raise ProbeError(message)
    outcome = results[0]
    if isinstance(outcome, ProbeError):
        raise outcome
    if isinstance(outcome, Exception):
        message = f"{what} failed ({type(outcome).__name__})"
        raise ProbeError(message)
    return outcome


def _sysctl(edge: Edge, key: str) -> str:
    """One of the system's variables; '' where this Mac has none of the name."""
    try:
        return edge.run(("/usr/sbin/sysctl", "-n", key)).strip()
    except ProbeError:
        return ""


def _line(path: Path) -> str:
    return next(iter(lines_of(path)), "").strip()


def _some(found: Sequence[Found], otherwise: str) -> tuple[Found, ...]:
    if not found:
        raise ProbeError(otherwise)
    return tuple(found)
