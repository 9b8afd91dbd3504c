"""What CUDA's own allocator says of a peak, on a machine without one."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from moe_plan.api import load
from moe_plan.replica import build
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.activations import peak_lines
from moe_plan.witness.run import Shape


def test_cuda_has_a_line_of_its_allocator(monkeypatch):
    """No such device here: its counters are stood in for, and what they say is noted beside the exact lines."""
    spec = shrink(validated(load("olmoe-1b-7b").spec), 1 / 64).spec
    replica = build.materialise(build.on_meta(spec), torch.device("cpu"))
    counters = iter([100, 100, 100, 100])
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda _: True))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: next(counters))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1124)
    lines = [line for line in peak_lines(replica, Shape(2, 5, 1), 0) if "CUDA" in line.name]
    assert [line.measured for line in lines] == [1024] * 4
    assert {line.verdict for line in lines} == {"noted"}
