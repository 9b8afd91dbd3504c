"""A mixer of the replica on its own: made with random weights, run in one go or in pieces through its cache."""

from __future__ import annotations

import torch

from moe_plan.anatomy.attention import attention_body
from moe_plan.replica.block import Block
from moe_plan.replica.call import Call, Options
from moe_plan.replica.measure.flops import FlopCounter
from moe_plan.replica.store import Fixed
from moe_plan.spec.model import Norm

HIDDEN = 42
NORM = Norm(eps=1e-6)


def made(block, seed=5):
    """`block` with random weights."""
    generator = torch.Generator().manual_seed(seed)
    for module in block.modules():
        if isinstance(module, Block):
            module.materialise(torch.device("cpu"), generator)
    return block


def inputs(batch, tokens, hidden=HIDDEN, seed=11):
    return torch.randn((batch, tokens, hidden), generator=torch.Generator().manual_seed(seed))


def call_of(x, start=0, **options):
    ids = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
    return Call(ids, start, NORM, Options(**options))


def at_once(mixer, x, **options):
    """Without a cache."""
    return mixer(x, None, call_of(x, **options))


def in_pieces(mixer, x, pieces, watch=None, **options):
    """Through a cache, `pieces` new tokens at a time; `watch(tokens, state)` after each."""
    state = mixer.state(x.shape[0], x.shape[1], x)
    outs, start = [], 0
    for new in pieces:
        part = x[:, start : start + new]
        outs.append(mixer(part, state, call_of(part, start, **options)))
        start += new
        if watch is not None:
            watch(start, state)
    assert start == x.shape[1]
    return torch.cat(outs, 1)


def held(state):
    """Elements of every state, one sequence's."""
    return {name: kept.held_elements // len(_tensor(kept)) for name, kept in state.items()}


def _tensor(kept):
    return kept.value if isinstance(kept, Fixed) else kept.slots_NSW


def difference(ours, theirs):
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def counted(mixer, run):
    """FLOPs of `run()` by weight or operation."""
    with FlopCounter(mixer.tensors()) as counter:
        run()
    return dict(counter.flops)


def predicted(spec, phase, tokens, context):
    """The inventory's FLOPs of `tokens` new tokens, the last of which stands at the end of `context`."""
    body = attention_body(spec, HIDDEN, HIDDEN)
    flops = {w.name: tokens * w.flops_per_token for w in body.weights if w.flops_per_token}
    for operation in body.operations:
        if operation.phase in ("both", phase):
            reach, contexts = operation.reach, range(context - tokens + 1, context + 1)
            seen = (1 if reach is None else reach.entries(t) for t in contexts)
            flops[operation.name] = operation.flops * sum(seen)
    return {name: count for name, count in flops.items() if count}


def shapes(mixer):
    return {name: tuple(tensor.shape) for name, tensor in mixer.tensors()}


def predicted_shapes(spec):
    """The inventory's tensors; copies are the first dimension."""
    body = attention_body(spec, HIDDEN, HIDDEN)
    return {w.name: (w.copies, *w.shape) if w.copies > 1 else w.shape for w in body.weights}
