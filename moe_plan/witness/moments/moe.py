"""A mixture of experts: its router, rows sorted by expert and worked on group by group, its shared expert.

What an expert works on depends on how many rows it has, so the counts of a real routing are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import dense, router
from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.witness.moments.tape import Run, Tape

ROW_BYTES = 16
"""Boundary on which rows of a product's output begin."""
GROUP_ROWS = 512
"""Rows, at most, that are gathered and worked on together."""
BLOCK_ELEMENTS = 1 << 19
"""Weights, at most, that are converted to float32 at a time, where the compute type is slow."""


def moments(tape: Tape, spec: MoeFfn, run: Run, counts: tuple[int, ...]) -> int:
    """One mixture; its input is live already. Returns the bytes of its output.

    `counts`: rows of each choice, the zero-compute ones last.
    """
    choice = router.moments(tape, spec, run)
    if spec.latent is None:
        _experts(tape, spec, run, counts)
    else:
        inner = run._replace(hidden=spec.latent)
        tape.take(inner.wide)
        _experts(tape, spec, inner, counts)
        tape.take(run.wide)
        tape.give(2 * inner.wide)
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
    rows = sum(counts[: spec.experts])
    plan = _dispatched(tape, spec, run, counts)
    out = tape.take(FP32 * run.rows * run.hidden)
    gathered = 0
    for group in groups(counts[: spec.experts]):
        # The rows of the group before are freed when these are there.
        gathered = tape.swap(gathered, sum(group) * run.hidden * run.itemsize)
        (_plain if run.native else _widened)(tape, spec, run, group)
        if run.narrow:
            weights = 0 if spec.router.weigh_input else FP32 * sum(group)
            tape.flash(weights, FP32 * sum(group) * run.hidden)
    if rows < run.rows * spec.top_k:
        _identity(tape, spec, run)
    if run.narrow:
        tape.swap(out, run.wide)
    tape.give(plan, gathered)


def _dispatched(tape: Tape, spec: MoeFfn, run: Run, counts: tuple[int, ...]) -> int:
    """Token and weight of each row, sorted by expert; returns their bytes."""
    rows = sum(counts[: spec.experts])
    order = tape.take(INT64 * run.rows * spec.top_k)
    # What is sorted comes with the order.
    tape.flash(order)
    last = max(choice for choice, count in enumerate(counts) if count)
    tape.flash(INT64 * max(spec.experts, last + 1))
    plan = tape.take(INT64 * rows) + tape.take(rows * run.itemsize)
    tape.give(order)
    return plan


def _plain(tape: Tape, spec: MoeFfn, run: Run, group: list[int]) -> None:
    up = tape.take(sum(group) * _row(dense.up_columns(spec, spec.width), run.itemsize))
    # Outputs go where the rows were, unless these do not begin on the boundary.
    out = _row(run.hidden, run.itemsize)
    own = tape.take(sum(group) * out) if out > run.hidden * run.itemsize else 0
    dense.activated(tape, spec, max(group) * spec.width * run.itemsize)
    tape.give(up, own)


def _row(columns: int, itemsize: int) -> int:
    """Bytes of a row that ends where the next can begin."""
    return -(-columns * itemsize // ROW_BYTES) * ROW_BYTES


def _widened(tape: Tape, spec: MoeFfn, run: Run, group: list[int]) -> None:
    """In float32, with a block of weights converted at a time, and the whole bias of a product."""
    columns = dense.up_columns(spec, spec.width)
    rows = tape.take(sum(group) * _row(run.hidden, FP32))
    up = tape.take(sum(group) * _row(columns, FP32))
    whole = run.hidden * max(columns, spec.width)
    least = ROW_BYTES // FP32 * max(run.hidden, columns, spec.width)
    elements = min(whole, max(BLOCK_ELEMENTS, least))
    block = tape.take(FP32 * elements)
    dense.activated(tape, spec, FP32 * max(group) * spec.width)
    if spec.bias:
        tape.flash(FP32 * columns)
        tape.flash(FP32 * run.hidden)
    tape.give(rows, up, block)


def _identity(tape: Tape, spec: MoeFfn, run: Run) -> None:
    """What zero-compute experts return: the token, times the sum of their weights."""
    size = FP32 * run.rows * spec.top_k
    wide = tape.take(size) if run.narrow else 0
    chosen = tape.take(BOOL * run.rows * spec.top_k)
    weights = tape.take(size)
    tape.give(wide, chosen)
    tape.flash(FP32 * run.rows * run.hidden if run.narrow else 0, FP32 * run.rows)
    tape.give(weights)


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
