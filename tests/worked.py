"""What the worked problems compare: an anatomy as plain tables of names, shapes and sizes.

Hidden width is 10 throughout and no two other sizes of a block are equal where the kind allows it, so
that a wrong width cannot hide behind an equal one.
"""

from __future__ import annotations

from moe_plan.anatomy.inventory import Body, Reach

HIDDEN, VOCAB = 10, 100


def shapes(body: Body) -> dict[str, tuple[int, ...]]:
    return {weight.name: weight.shape for weight in body.weights}


def routed(body: Body) -> dict[str, tuple[int, int, int]]:
    """copies, used and the pool of everything that is not one dense tensor."""
    return {w.name: (w.copies, w.used, w.pool) for w in body.weights if (w.copies, w.used) != (1, 1)}


def uses(body: Body, use: str) -> set[str]:
    return {weight.name for weight in body.weights if weight.use == use}


def states(body: Body) -> dict[str, tuple[int, Reach | None]]:
    return {state.name: (state.elements, state.reach) for state in body.states}


def operations(body: Body) -> dict[str, tuple[int, Reach | None]]:
    return {op.name: (op.flops, op.reach) for op in body.operations}


def cuts(body: Body) -> dict[str, int]:
    """Into how many ranks tensor parallelism can cut each weight and each state."""
    return {row.name: row.max_tp for row in (*body.weights, *body.states)}
