"""Worked by hand: gated delta rules, lightning attention, Mamba and short convolutions."""

from __future__ import annotations

from worked import HIDDEN, operations, shapes, states, uses

from moe_plan.anatomy.attention import attention_body
from moe_plan.spec.attention import GatedDelta, KimiDelta, LightningAttention, Mamba1, Mamba2, ShortConv


def test_gated_delta():
    """2 key heads of 3, 6 value heads of 4: key width 6, value width 24, 36 convolved channels."""
    spec = GatedDelta(kind="gated-delta", key_heads=2, value_heads=6, key_dim=3, value_dim=4, conv=5)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.in_qkvz": (60, 10),
        "attention.in_ba": (12, 10),
        "attention.conv": (36, 1, 5),
        "attention.dt_bias": (6,),
        "attention.a_log": (6,),
        "attention.out_norm": (4,),
        "attention.o": (10, 24),
    }
    assert states(body) == {"attention.recurrent_state": (72, None), "attention.conv_state": (144, None)}
    assert sum(flops for flops, _ in operations(body).values()) == 6 * 72


def test_kimi_delta():
    body = attention_body(KimiDelta(kind="kda", heads=3, head_dim=4, conv=5), HIDDEN)
    assert shapes(body) == {
        "attention.q": (12, 10),
        "attention.k": (12, 10),
        "attention.v": (12, 10),
        "attention.conv": (36, 1, 5),
        "attention.f_a": (4, 10),
        "attention.f_b": (12, 4),
        "attention.g_a": (4, 10),
        "attention.g_b": (12, 4),
        "attention.beta": (3, 10),
        "attention.dt_bias": (12,),
        "attention.a_log": (3,),
        "attention.out_norm": (4,),
        "attention.o": (10, 12),
    }
    assert states(body) == {"attention.recurrent_state": (48, None), "attention.conv_state": (144, None)}
    assert sum(flops for flops, _ in operations(body).values()) == 6 * 48


def test_lightning():
    body = attention_body(LightningAttention(kind="lightning", heads=3, head_dim=4), HIDDEN)
    assert shapes(body) == {
        "attention.qkv": (36, 10),
        "attention.gate": (12, 10),
        "attention.out_norm": (12,),
        "attention.o": (10, 12),
    }
    assert states(body) == {"attention.recurrent_state": (48, None)}
    assert sum(flops for flops, _ in operations(body).values()) == 4 * 48


def test_mamba1():
    spec = Mamba1(kind="mamba1", inner=20, state=3, dt_rank=7, conv=5, inner_norms=True)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.in": (40, 10),
        "attention.conv": (20, 1, 5),
        "attention.conv_bias": (20,),
        "attention.x": (13, 20),
        "attention.dt": (20, 7),
        "attention.dt_bias": (20,),
        "attention.a_log": (20, 3),
        "attention.d": (20,),
        "attention.dt_norm": (7,),
        "attention.b_norm": (3,),
        "attention.c_norm": (3,),
        "attention.o": (10, 20),
    }
    assert states(body) == {"attention.ssm_state": (60, None), "attention.conv_state": (80, None)}
    assert sum(flops for flops, _ in operations(body).values()) == 4 * 60
    assert {state.dtype for state in body.states} == {"fp32", "bf16"}


def test_mamba2():
    """6 heads of 4 make an inner width of 24; 3 groups of 5 states each: 24 + 2*3*5 convolved channels."""
    spec = Mamba2(kind="mamba2", heads=6, head_dim=4, state=5, groups=3, conv=4)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.in": (24 + 54 + 6, 10),
        "attention.conv": (54, 1, 4),
        "attention.conv_bias": (54,),
        "attention.dt_bias": (6,),
        "attention.a_log": (6,),
        "attention.d": (6,),
        "attention.out_norm": (24,),
        "attention.o": (10, 24),
    }
    assert states(body) == {"attention.ssm_state": (120, None), "attention.conv_state": (162, None)}
    assert [state.max_tp for state in body.states] == [6, 3]
    assert sum(flops for flops, _ in operations(body).values()) == 4 * 120


def test_short_convolution():
    body = attention_body(ShortConv(kind="short-conv", taps=3), HIDDEN)
    assert shapes(body) == {"attention.in": (30, 10), "attention.conv": (10, 1, 3), "attention.o": (10, 10)}
    assert uses(body, "conv") == {"attention.conv"}
    assert states(body) == {"attention.conv_state": (20, None)}
