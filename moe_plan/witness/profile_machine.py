"""The machine in words: what a reader of the numbers must know, and nothing that names its owner."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

from moe_plan import __version__
from moe_plan.hardware.cgroup import lines_of


def machine() -> dict[str, str | int | None]:
    """Processor, cores that this process may use, instruction set as torch sees it, operating system."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "moe_plan": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return _cpu_name()


def _cpu_name(file: Path = Path("/proc/cpuinfo")) -> str:
    for line in lines_of(file):
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.processor() or platform.machine()
