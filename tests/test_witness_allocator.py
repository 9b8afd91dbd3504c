"""Peak activation bytes by CUDA's allocator, on a device that is played by the CPU and a tracker."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from moe_plan.api import load
from moe_plan.replica import build
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.allocator import allocator_lines
from moe_plan.witness.prepare import Prepared
from moe_plan.witness.run import Shape

HELD = 12_345


class PlayedCuda:
    """What torch.cuda is asked for: `HELD` bytes before every forward, and what the tracker saw on top."""

    def __init__(self) -> None:
        self.tracker = None

    def synchronize(self, device):
        assert device.type == "cuda"

    def reset_peak_memory_stats(self, device):
        self.tracker = AllocationTracker()
        self.tracker.__enter__()

    def memory_allocated(self, device):
        return HELD

    def max_memory_allocated(self, device):
        self.tracker.__exit__(None, None, None)
        return HELD + self.tracker.peak_bytes


def prepared(device: str) -> Prepared:
    shrunk = shrink(validated(load("mixtral-8x7b").spec), 1 / 64)
    replica = build.materialise(build.on_meta(shrunk.spec), torch.device("cpu"))
    return Prepared(replica, shrunk, Shape(2, 24, 1), torch.device(device))


def test_a_line_for_prefill_and_for_decode(monkeypatch):
    played = PlayedCuda()
    for name in ("synchronize", "reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(played, name))
    lines = list(allocator_lines(prepared("cuda"), 0))
    groups = ["peak activation bytes of prefill", "peak activation bytes of decode step 1"]
    assert [line.group for line in lines] == groups
    assert [line.verdict for line in lines] == ["equal", "equal"]
    assert lines[0].measured > lines[1].measured > 0
    assert not any(line.judged for line in lines)


def test_none_on_a_cpu():
    assert list(allocator_lines(prepared("cpu"), 0)) == []
