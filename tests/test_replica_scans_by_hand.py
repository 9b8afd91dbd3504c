"""Recurrent mixers by their definitions: one token, one head at a time, from the papers' own formulas."""

from __future__ import annotations

import math
import os

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from mixers import HIDDEN, at_once, difference, in_pieces, inputs, made
from torch.nn.functional import silu, softplus

from moe_plan.replica.recurrence.delta import UNIT_EPS, GatedDeltaMixer, KimiDeltaMixer
from moe_plan.replica.recurrence.lightning import LightningMixer
from moe_plan.replica.recurrence.mamba1 import Mamba1Mixer
from moe_plan.replica.recurrence.mamba2 import Mamba2Mixer
from moe_plan.replica.recurrence.short_conv import ShortConvMixer
from moe_plan.spec.attention import GatedDelta, KimiDelta, LightningAttention, Mamba1, Mamba2, ShortConv
from moe_plan.spec.model import Norm

TOKENS = 9
NORM = Norm(eps=0.05)
"""Large, so that a forgotten one shows."""
CLOSE = 3e-6
"""Of the largest value: float32 sums in another order."""
PIECES = ([TOKENS], [1] * TOKENS, [1, 4, 1, 3], [2, 7])


def assert_by_hand(ours, by_hand) -> None:
    """Without a cache, and in every way through one."""
    x = inputs(2, TOKENS)
    expected = torch.stack([by_hand(ours, x_TD) for x_TD in x])
    assert difference(at_once(ours, x), expected) < CLOSE
    for pieces in PIECES:
        assert difference(in_pieces(ours, x, pieces), expected) < CLOSE, pieces


def convolved(x_TC, taps_C1J, bias_C=None):
    """Output t is the sum over taps j of input t - (J - 1) + j."""
    taps, outs = taps_C1J[:, 0], []
    for t in range(len(x_TC)):
        out = torch.zeros(x_TC.shape[1]) if bias_C is None else bias_C.clone()
        for j in range(taps.shape[1]):
            at = t - (taps.shape[1] - 1) + j
            if at >= 0:
                out = out + taps[:, j] * x_TC[at]
        outs.append(out)
    return torch.stack(outs)


def normed(x, weight, eps: float):
    return x / math.sqrt(float((x * x).mean()) + eps) * weight


def unit(x):
    return x / math.sqrt(float((x * x).sum()) + UNIT_EPS)


def ruled(queries, keys, values, decays, strengths):
    """The gated delta rule: S = a S, S = S + b k (v - S' k)', o = S' q; `decays` for each key channel."""
    state, outs = torch.zeros(keys.shape[1], values.shape[1]), []
    for q, k, v, a, b in zip(queries, keys, values, decays, strengths, strict=True):
        state = state * a.unsqueeze(-1)
        state = state + b * torch.outer(k, v - state.T @ k)
        outs.append(state.T @ q)
    return torch.stack(outs)


def gated_delta_by_hand(ours, x_TD):
    spec = ours.spec
    keys, shared = spec.key_heads * spec.key_dim, spec.value_heads // spec.key_heads
    width = spec.value_heads * spec.value_dim
    both = silu(convolved(x_TD @ ours.in_qk.T, ours.conv_qk))
    values = silu(convolved(x_TD @ ours.in_vz[:width].T, ours.conv_v))
    gates = silu(x_TD @ ours.in_vz[width:].T)
    b, a = (x_TD @ ours.in_ba.T).split(spec.value_heads, 1)
    heads = []
    for head in range(spec.value_heads):
        at = slice(head // shared * spec.key_dim, (head // shared + 1) * spec.key_dim)
        queries = torch.stack([unit(row) for row in both[:, :keys][:, at]]) * spec.key_dim**-0.5
        key = torch.stack([unit(row) for row in both[:, keys:][:, at]])
        decay = torch.exp(-torch.exp(ours.a_log[head]) * softplus(a[:, head] + ours.dt_bias[head]))
        channels = slice(head * spec.value_dim, (head + 1) * spec.value_dim)
        out = ruled(queries, key, values[:, channels], decay[:, None], torch.sigmoid(b[:, head]))
        out = torch.stack([normed(row, ours.out_norm, NORM.eps) for row in out])
        heads.append(out * gates[:, channels])
    return torch.cat(heads, 1) @ ours.o.T


def kda_by_hand(ours, x_TD):
    spec, width = ours.spec, ours.spec.heads * ours.spec.head_dim
    q, k, v = (
        silu(convolved(x_TD @ weight.T, taps))
        for weight, taps in zip((ours.q, ours.k, ours.v), ours.conv.split(width), strict=True)
    )
    steps = softplus(x_TD @ ours.f_a.T @ ours.f_b.T + ours.dt_bias)
    gates = torch.sigmoid(x_TD @ ours.g_a.T @ ours.g_b.T)
    strengths, heads = torch.sigmoid(x_TD @ ours.beta.T), []
    for head in range(spec.heads):
        at = slice(head * spec.head_dim, (head + 1) * spec.head_dim)
        queries = torch.stack([unit(row) for row in q[:, at]]) * spec.head_dim**-0.5
        key = torch.stack([unit(row) for row in k[:, at]])
        decays = torch.exp(-torch.exp(ours.a_log[head]) * steps[:, at])
        out = ruled(queries, key, v[:, at], decays, strengths[:, head])
        out = torch.stack([normed(row, ours.out_norm, NORM.eps) for row in out])
        heads.append(out * gates[:, at])
    return torch.cat(heads, 1) @ ours.o.T


def summed(queries, keys, values, decays):
    """S = a S + k v', o = S' q."""
    state, outs = torch.zeros(keys.shape[1], values.shape[1]), []
    for q, k, v, a in zip(queries, keys, values, decays, strict=True):
        state = a * state + torch.outer(k, v)
        outs.append(state.T @ q)
    return torch.stack(outs)


def lightning_by_hand(ours, x_TD):
    spec = ours.spec
    q, k, v = silu(x_TD @ ours.qkv.T).chunk(3, 1)
    heads = []
    for head in range(spec.heads):
        at = slice(head * spec.head_dim, (head + 1) * spec.head_dim)
        # The third of seven layers.
        slope = 2 ** (-8 * (head + 1) / spec.heads) * (1 - 2 / (6 + 1e-5) + 1e-5)
        heads.append(summed(q[:, at], k[:, at], v[:, at], [math.exp(-slope)] * len(x_TD)))
    out = torch.stack([normed(row, ours.out_norm, spec.eps) for row in torch.cat(heads, 1)])
    return (out * torch.sigmoid(x_TD @ ours.gate.T)) @ ours.o.T


def mamba1_by_hand(ours, x_TD):
    """By channels, for which the recurrence of matrices is one of vectors."""
    spec = ours.spec
    inputs_TI, gates_TI = (x_TD @ getattr(ours, "in").T).chunk(2, 1)
    u = silu(convolved(inputs_TI, ours.conv, ours.conv_bias))
    dt, b, c = (u @ ours.x.T).split((spec.dt_rank, spec.state, spec.state), 1)
    if spec.inner_norms:
        dt, b, c = (
            torch.stack([normed(row, weight, NORM.eps) for row in rows])
            for rows, weight in ((dt, ours.dt_norm), (b, ours.b_norm), (c, ours.c_norm))
        )
    dt = softplus(dt @ ours.dt.T + ours.dt_bias)
    state, outs = torch.zeros(spec.inner, spec.state), []
    for t in range(len(x_TD)):
        state = torch.exp(-torch.exp(ours.a_log) * dt[t, :, None]) * state
        state = state + torch.outer(dt[t] * u[t], b[t])
        outs.append(state @ c[t] + ours.d * u[t])
    return (torch.stack(outs) * silu(gates_TI)) @ ours.o.T


def mamba2_by_hand(ours, x_TD):
    spec, inner = ours.spec, ours.spec.heads * ours.spec.head_dim
    z, x, dt = (x_TD @ ours.in_zxdt.T).split((inner, inner, spec.heads), 1)
    x = silu(convolved(x, ours.conv_x, ours.conv_x_bias))
    both = silu(convolved(x_TD @ ours.in_bc.T, ours.conv_bc, ours.conv_bc_bias))
    b, c = both.chunk(2, 1)
    dt, heads = softplus(dt + ours.dt_bias), []
    for head in range(spec.heads):
        group = head // (spec.heads // spec.groups)
        shared = slice(group * spec.state, (group + 1) * spec.state)
        at = slice(head * spec.head_dim, (head + 1) * spec.head_dim)
        decays = torch.exp(-torch.exp(ours.a_log[head]) * dt[:, head])
        out = summed(c[:, shared], b[:, shared], x[:, at] * dt[:, head, None], decays)
        heads.append(out + ours.d[head] * x[:, at])
    y, each = torch.cat(heads, 1) * silu(z), inner // spec.groups
    weights = ours.out_norm.split(each)
    y = torch.stack(
        [
            torch.cat([normed(p, w, NORM.eps) for p, w in zip(row.split(each), weights, strict=True)])
            for row in y
        ]
    )
    return y @ ours.o.T


def short_conv_by_hand(ours, x_TD):
    before, after, x = (x_TD @ getattr(ours, "in").T).chunk(3, 1)
    return (after * convolved(before * x, ours.conv)) @ ours.o.T


def test_gated_delta():
    spec = GatedDelta(kind="gated-delta", key_heads=2, value_heads=6, key_dim=5, value_dim=7, conv=4)
    assert_by_hand(made(GatedDeltaMixer(spec, HIDDEN, NORM)), gated_delta_by_hand)


def test_kimi_delta():
    spec = KimiDelta(kind="kda", heads=3, head_dim=5, conv=3)
    assert_by_hand(made(KimiDeltaMixer(spec, HIDDEN, NORM)), kda_by_hand)


def test_lightning():
    spec = LightningAttention(kind="lightning", heads=3, head_dim=5, eps=0.2)
    assert_by_hand(made(LightningMixer(spec, HIDDEN, NORM, layer=2, layers=7)), lightning_by_hand)


def test_mamba1():
    for norms in (True, False):
        fields = {"inner": 7, "state": 5, "dt_rank": 3, "conv": 4, "inner_norms": norms, "conv_bias": norms}
        assert_by_hand(made(Mamba1Mixer(Mamba1(kind="mamba1", **fields), HIDDEN, NORM)), mamba1_by_hand)


def test_mamba2():
    spec = Mamba2(kind="mamba2", heads=6, head_dim=5, state=7, groups=2, conv=3)
    assert_by_hand(made(Mamba2Mixer(spec, HIDDEN, NORM)), mamba2_by_hand)


def test_short_convolution():
    for taps in (1, 2, 5):
        ours = made(ShortConvMixer(ShortConv(kind="short-conv", taps=taps), HIDDEN, NORM))
        assert_by_hand(ours, short_conv_by_hand)
