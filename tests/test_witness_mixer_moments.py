"""The peak activation bytes of latent and compressed attention and of recurrences, to the byte."""

from __future__ import annotations

import os
from itertools import product
from typing import NamedTuple

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[verify]'")

from cuts import INDEXER, MLA
from hypothesis import given, settings
from hypothesis import strategies as st
from mixers import NORM, made
from strategies_attention import ATTENTION_KINDS, deterministic
from strategies_attention import mla as latent_alone

from moe_plan.replica.attention.gqa import Widths
from moe_plan.replica.build import DTYPES, default_dtype
from moe_plan.replica.build_mixer import mixer
from moe_plan.replica.call import Call, Options
from moe_plan.replica.hyper import Hyper, HyperHead
from moe_plan.replica.layers import Place
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.spec.attention import CompressedAttention, MlaAttention
from moe_plan.witness.moments import hyper
from moe_plan.witness.moments.blocks import mix
from moe_plan.witness.moments.tape import Run, Tape


class Forward(NamedTuple):
    """What is run, and how."""

    sequences: int
    tokens: int
    start: int = 0
    hidden: int = 42
    dtype: str = "fp32"
    query_block: int = 256
    absorbed: bool = False

    def run(self):
        itemsize = DTYPES[self.dtype].itemsize
        return Run(*self[:4], itemsize, self.query_block, self.absorbed)

    def inputs(self, tokens):
        generator = torch.Generator().manual_seed(3)
        return torch.randn((self.sequences, tokens, self.hidden), generator=generator).to(DTYPES[self.dtype])

    def call(self, x, start=0):
        options = Options(query_block=self.query_block, absorbed=self.absorbed)
        return Call(torch.zeros(x.shape[:2], dtype=torch.long), start, NORM, options)


# The last two are a decode step, and a few tokens after earlier ones.
FORWARDS = [
    Forward(2, 24),
    Forward(1, 57, query_block=16),
    Forward(3, 1, 37),
    Forward(2, 5, 19, query_block=3),
]
runs = st.builds(
    Forward,
    sequences=st.integers(1, 3),
    tokens=st.sampled_from([1, 1, 2, 11, 30]),
    start=st.sampled_from([0, 1, 13, 24]),
    hidden=st.integers(1, 30),
    dtype=st.sampled_from(sorted(DTYPES)),
    query_block=st.sampled_from([256, 5, 1]),
    absorbed=st.booleans(),
)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def module_of(spec, forward):
    with default_dtype(DTYPES[forward.dtype]):
        return made(mixer(spec, Place(None, Widths(forward.hidden, 0), NORM, None, 1, 3)))


class Followed(AllocationTracker):
    """Bytes before and after each allocation."""

    def __init__(self):
        super().__init__()
        self.taken = []

    def _follow(self, tensor, operation):
        before = self.live_bytes
        super()._follow(tensor, operation)
        self.taken.append((before, self.live_bytes))


class Written(Tape):
    """Bytes before and after each allocation."""

    def __init__(self):
        super().__init__()
        self.taken = []

    def take(self, size):
        before = self.live
        super().take(size)
        self.taken.append((before, self.live))
        return size


def tops(taken, end):
    """What was live whenever something was about to be freed."""
    taken = [(before, after) for before, after in taken if before != after]
    following = [before for before, _ in taken[1:]] + [end]
    return {after for (_, after), later in zip(taken, following, strict=True) if later < after}


def measured(modules, forward):
    """One forward through `modules`, one after the other on the same input, as it was followed."""
    x = forward.inputs(forward.tokens)
    states = [m.state(forward.sequences, forward.start + forward.tokens, x) for m in modules]
    if forward.start:
        before = forward.inputs(forward.start)
        first = forward.call(before)
        for module, state in zip(modules, states, strict=True):
            module(before, state, first)
    call = forward.call(x, forward.start)
    with Followed() as tracker:
        outs = [module(x, state, call) for module, state in zip(modules, states, strict=True)]
        live = tracker.live_bytes
    assert all(out.isfinite().all() for out in outs)
    return tracker.peak_bytes, live, tops(tracker.taken, live)


def predicted(specs, forward):
    tape = Written()
    outs = [mix(tape, spec, forward.run(), NORM, ()) for spec in specs]
    assert outs == [forward.run().wide] * len(specs)
    return tape.peak, tape.live, tops(tape.taken, tape.live)


def check(forward, *specs):
    """The peak and what stays; without tables of positions also every lesser top on the way."""
    ours = predicted(specs, forward)
    theirs = measured([module_of(spec, forward) for spec in specs], forward)
    assert ours[:2] == theirs[:2]
    if all(getattr(spec, "rope", None) is None for spec in specs):
        assert ours[2] == theirs[2]


def without_shared(spec):
    return getattr(spec, "indexer", None) is None or not spec.indexer.shared


ALONE = ATTENTION_KINDS | {
    "mla": latent_alone,
    "compressed": ATTENTION_KINDS["compressed"].filter(without_shared),
}
KINDS = [kind for kind in ATTENTION_KINDS if kind not in ("gqa", "moa")]


@pytest.mark.parametrize("kind", KINDS)
def test_any_block_of_a_kind_in_any_forward(kind):
    """Sizes decide which moment is the widest, so the lesser ones are held against what happened too."""

    @settings(deterministic, max_examples=40)
    @given(ALONE[kind], runs)
    def holds(spec, forward):
        check(forward, spec)
        if getattr(spec, "rope", None) is not None:
            check(forward, spec.model_copy(update={"rope": None}))

    holds()


CHOSEN = MlaAttention(**MLA, indexer=INDEXER)
SHARING = MlaAttention(**MLA, indexer=INDEXER.model_copy(update={"shared": True}))
ENTRIES = CompressedAttention(
    kind="compressed",
    heads=6,
    head_dim=8,
    q_rank=5,
    o_groups=3,
    o_rank=7,
    sinks=True,
    window=9,
    ratio=2,
    overlap=True,
    indexer=INDEXER.model_copy(update={"top_k": 3}),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forward", FORWARDS, ids=str)
@pytest.mark.parametrize(
    "specs", [(CHOSEN, SHARING), (CHOSEN, CHOSEN), (ENTRIES, ENTRIES)], ids=["shared", "own", "entries"]
)
def test_a_choice_lives_until_the_next_one(specs, forward, dtype):
    """A layer that shares it takes none of its own; one with its own makes it beside the old."""
    for absorbed in (False, True):
        check(forward._replace(dtype=dtype, absorbed=absorbed), *specs)


def test_the_forms_of_latent_attention_differ():
    """Few heads and a wide latent are dear to the absorbed form of a prefill, and cheap for one token."""
    spec = MlaAttention(**MLA)
    prefill, step = Forward(2, 24), Forward(2, 1, 200)
    peaks = {
        (forward, absorbed): predicted([spec], forward._replace(absorbed=absorbed))[0]
        for forward, absorbed in product((prefill, step), (False, True))
    }
    assert len(set(peaks.values())) == 4
    assert peaks[step, True] < peaks[step, False]


def followed(run):
    with AllocationTracker() as tracker:
        out = run()
        live = tracker.live_bytes
    return tracker.peak_bytes, live, out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forward", FORWARDS, ids=str)
@pytest.mark.parametrize("streams", [1, 3, 4])
def test_hyper_connections(streams, forward, dtype):
    forward = forward._replace(dtype=dtype)
    run, tapes = forward.run(), [Tape() for _ in range(3)]
    with default_dtype(DTYPES[dtype]):
        connections, head = Hyper(streams, run.hidden, 0, NORM), HyperHead(streams, run.hidden, NORM)
    made(connections)
    made(head)
    out = forward.inputs(forward.tokens)
    x = out.unsqueeze(2).repeat(1, 1, streams, 1)
    peak, live, (_, carry) = followed(lambda: connections.read(x))
    read = hyper.read(tapes[0], streams, run)
    assert (tapes[0].peak, tapes[0].live, sum(read)) == (peak, live, live)
    peak, live, _ = followed(lambda: connections.write(x, out, carry))
    written = hyper.write(tapes[1], streams, run)
    assert (tapes[1].peak, written) == (peak, live)
    peak, live, _ = followed(lambda: head(x))
    one = hyper.head(tapes[2], streams, run)
    assert (tapes[2].peak, one) == (peak, live)
