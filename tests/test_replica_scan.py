"""Recurrences by hand, and the memory that they take."""

from __future__ import annotations

import math
import os

import pytest

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

from mixers import HIDDEN, NORM, at_once, call_of, difference, held, in_pieces, inputs, made
from recurrence_weights import LIGHTNING, MAMBA1
from referee_recurrence import FAMILIES, KINDS, bare

from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.recurrence.conv import depthwise, join
from moe_plan.replica.recurrence.lightning import LightningMixer
from moe_plan.replica.recurrence.mamba1 import Mamba1Mixer
from moe_plan.spec.attention import GatedDelta

CLOSE = 3e-6
"""Of the largest value: float32 sums in another order."""


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def scanned_by_hand(ours, x_TD):
    """Jamba's recurrence by its definition, a channel at a time, in Python's own arithmetic."""
    w, spec = bare(ours), ours.spec
    projected = (x_TD @ w["in"].T)[:, : spec.inner]
    padded = torch.cat((torch.zeros(spec.conv - 1, spec.inner), projected))
    taps = w["conv"].squeeze(1)
    convolved = torch.stack([(padded[t : t + spec.conv].T * taps).sum(1) for t in range(len(x_TD))])
    u = torch.nn.functional.silu(convolved + w["conv_bias"])
    dt, b, c = (u @ w["x"].T).split((spec.dt_rank, spec.state, spec.state), 1)
    dt = torch.log1p(torch.exp(dt @ w["dt"].T + w["dt_bias"]))
    y = torch.zeros_like(u)
    for channel in range(spec.inner):
        h = [0.0] * spec.state
        for t in range(len(x_TD)):
            step, seen = float(dt[t, channel]), float(u[t, channel])
            total = float(w["d"][channel]) * seen
            for i in range(spec.state):
                rate = -math.exp(float(w["a_log"][channel, i]))
                h[i] = math.exp(step * rate) * h[i] + step * float(b[t, i]) * seen
                total += h[i] * float(c[t, i])
            y[t, channel] = total
    gate = torch.nn.functional.silu((x_TD @ w["in"].T)[:, spec.inner :])
    return (y * gate) @ w["o"].T


def test_mamba1_without_norms_by_hand():
    """Mamba as it was first, which no class of the referee has."""
    spec = MAMBA1.model_copy(update={"inner_norms": False})
    ours, x = made(Mamba1Mixer(spec, HIDDEN, NORM)), inputs(1, 7)
    assert difference(at_once(ours, x)[0], scanned_by_hand(ours, x[0])) < CLOSE


def test_lightning_slopes_by_hand():
    """The state's decay: exp of minus a slope that shrinks with the head and with the layer."""
    for layer in (0, 3, 6):
        mixer = LightningMixer(LIGHTNING, HIDDEN, NORM, layer=layer, layers=7)
        slopes = [2 ** (-8 * head / 3) * (1 - layer / (6 + 1e-5) + 1e-5) for head in (1, 2, 3)]
        by_hand = [math.exp(-slope) for slope in slopes] * 2
        assert mixer._decays(inputs(2, 1)).flatten().tolist() == pytest.approx(by_hand, rel=1e-6)


def test_a_stack_of_one_lightning_layer():
    mixer = made(LightningMixer(LIGHTNING, HIDDEN, NORM, layer=0, layers=1))
    assert at_once(mixer, inputs(1, 5)).isfinite().all()


@pytest.mark.parametrize("taps", [1, 2, 5])
def test_convolution_by_hand(taps):
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn((2, 6, 3), generator=generator), torch.randn((3, 1, taps), generator=generator)
    past = torch.randn((2, taps - 1, 3), generator=generator)
    everything = torch.cat((past, x), 1)
    moved = past.clone()
    joined = join(x, taps, moved)
    assert torch.equal(joined, everything)
    assert torch.equal(moved, everything[:, 6:])
    expected = torch.zeros_like(x)
    for t in range(6):
        for tap in range(taps):
            expected[:, t] += everything[:, t + tap] * weight[:, 0, tap]
    assert difference(depthwise(joined, weight), expected) < CLOSE
    assert torch.equal(join(x, taps, None)[:, : taps - 1], torch.zeros_like(past))


def test_a_convolution_of_one_tap_keeps_nothing():
    spec = GatedDelta(kind="gated-delta", key_heads=3, value_heads=3, key_dim=5, value_dim=7, conv=1)
    ours, x = made(FAMILIES["qwen3-next"].make(spec, HIDDEN, NORM)), inputs(2, 19)
    assert difference(in_pieces(ours, x, [1, 6, 1, 11]), at_once(ours, x)) < CLOSE
    assert held(ours.state(2, 19, x))["attention.conv_v_state"] == 0


def widest(name, spec, tokens):
    """Elements that the module's docstring says live together in a prefill of one sequence."""
    if name == "gated-delta":
        keys, values = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
        return (2 * tokens + spec.conv - 1) * values + tokens * (2 * keys + 3 * spec.value_heads)
    if name == "kda":
        width = spec.heads * spec.head_dim
        return (2 * tokens + spec.conv - 1) * width + tokens * (3 * width + spec.heads)
    if name == "lightning":
        return 3 * tokens * spec.heads * spec.head_dim + 2 * spec.heads
    if name == "mamba1":
        return tokens * (3 * spec.inner + 2 * spec.state) + 2 * spec.inner * spec.state
    if name == "mamba2":
        inner, shared = spec.heads * spec.head_dim, 2 * spec.groups * spec.state
        return (2 * tokens + spec.conv - 1) * inner + tokens * (shared + 2 * spec.heads)
    return (2 * tokens + spec.taps - 1) * HIDDEN


@pytest.mark.parametrize("tokens", [40, 77])
@pytest.mark.parametrize("name", KINDS)
def test_widest_moment(name, tokens):
    ours, x = FAMILIES[KINDS[name]].ours(), inputs(1, tokens)
    state, call = ours.state(1, tokens, x), call_of(x)
    known = [x, *ours.parameters(), *(kept.value for kept in state.values())]
    with AllocationTracker(known) as tracker:
        ours(x, state, call)
    assert tracker.peak_bytes == 4 * widest(name, ours.spec, tokens)


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)
def test_a_scan_allocates_nothing_a_token(name):
    """Twice the tokens, twice the bytes: what does not grow with them is the taps' past and one token's decay."""
    ours = FAMILIES[name].ours()
    peaks = []
    for tokens in (100, 200, 300):
        x = inputs(1, tokens)
        with AllocationTracker([x, *ours.parameters()]) as tracker:
            at_once(ours, x)
        peaks.append(tracker.peak_bytes)
    assert peaks[2] - peaks[1] == peaks[1] - peaks[0]
