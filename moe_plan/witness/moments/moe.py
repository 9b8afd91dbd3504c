"""A mixture of experts: its router, rows sorted by expert and worked on group by group, its shared expert.

What an expert works on depends on how many rows it has, so the counts of a real routing are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import dense, router
from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.witness.moments.tape import Run, Tape

GROUP_ROWS = 512
"""Rows, at most, that are gathered and worked on together."""


def moments(tape: Tape, spec: MoeFfn, run: Run, counts: tuple[int, ...]) -> int:
    """One mixture; its input is live already. Returns the bytes of its output. `counts`: rows of each expert."""
    choice = router.moments(tape, spec, run)
    latent = 0
    inner = run
    if spec.latent is not None:
        inner = run._replace(hidden=spec.latent)
        latent = tape.take(inner.wide)
    _experts(tape, spec, inner, counts)
    if spec.latent is not None:
        tape.take(run.wide)
        tape.give(latent, inner.wide)
    tape.give(choice)
    if spec.shared_width is not None:
        shared = dense.moments(tape, spec, run, spec.shared_width)
        if spec.shared_gate:
            tape.flash(run.rows * run.itemsize)
        tape.give(shared)
    return run.wide


def _experts(tape: Tape, spec: MoeFfn, run: Run, counts: tuple[int, ...]) -> None:
    """Rows through their experts, and their sum for each token, which stays."""
    tape.stage("experts")
    rows, each = sum(counts), run.hidden * run.itemsize
    order = tape.take(INT64 * run.rows * spec.top_k)
    tape.flash(INT64 * (spec.experts + spec.zero_experts))
    plan = tape.take(INT64 * rows) + tape.take(rows * run.itemsize)
    tape.give(order)
    out = tape.take(FP32 * run.rows * run.hidden)
    last = 0
    for group in groups(counts):
        gathered = tape.take(sum(group) * each)
        tape.give(last)
        last = gathered
        up = tape.take(sum(group) * dense.up_columns(spec, spec.width) * run.itemsize)
        dense.activated(tape, spec, sum(group) * spec.width * run.itemsize)
        tape.give(up)
        if run.narrow:
            tape.flash(FP32 * sum(group), FP32 * sum(group) * run.hidden)
    tape.give(last)
    if rows < run.rows * spec.top_k:
        size = FP32 * run.rows * spec.top_k
        tape.flash(size, size)
    if run.narrow:
        tape.swap(out, run.wide)
    tape.give(plan)


def groups(counts: tuple[int, ...]) -> Iterator[list[int]]:
    """Rows of the experts of each group; an expert with more than a group's is cut into equal parts."""
    group: list[int] = []
    for count in counts:
        cuts = -(-count // GROUP_ROWS)
        for index in range(cuts):
            part = (index + 1) * count // cuts - index * count // cuts
            if group and sum(group) + part > GROUP_ROWS:
                yield group
                group = []
            group.append(part)
    if group:
        yield group
