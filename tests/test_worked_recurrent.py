"""Worked by hand: gated delta rules, lightning attention, Mamba and short convolutions."""

from __future__ import annotations

from worked import HIDDEN, operations, shapes, states, uses

from moe_plan.anatomy.attention import attention_body
from moe_plan.spec.attention import GatedDelta, KimiDelta, LightningAttention, Mamba1, Mamba2, ShortConv


def test_gated_delta():
    """2 key heads of 3 and 6 value heads of 4: q and k are 6 wide each, v and z 24 each; b and a one a value head."""
    spec = GatedDelta(kind="gated-delta", key_heads=2, value_heads=6, key_dim=3, value_dim=4, conv=5)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.in_qk": (6 + 6, 10),
        "attention.in_vz": (24 + 24, 10),
        "attention.in_ba": (6 + 6, 10),
        "attention.conv_qk": (6 + 6, 1, 5),
        "attention.conv_v": (24, 1, 5),
        "attention.dt_bias": (6,),
        "attention.a_log": (6,),
        "attention.out_norm": (4,),
        "attention.o": (10, 24),
    }
    assert uses(body, "conv") == {"attention.conv_qk", "attention.conv_v"}
    # A state of 3 x 4 for each value head, and the last 4 of the 5 inputs that the convolutions see.
    assert states(body) == {
        "attention.recurrent_state": (6 * 3 * 4, None),
        "attention.conv_qk_state": (12 * 4, None),
        "attention.conv_v_state": (24 * 4, None),
    }
    assert {state.dtype for state in body.states if state.name.endswith("recurrent_state")} == {"fp32"}
    assert {state.dtype for state in body.states if "conv" in state.name} == {"bf16"}
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
    """6 heads of 4 make z and x 24 wide each; 3 groups of 5 states make B and C 15 each; dt is one a head."""
    spec = Mamba2(kind="mamba2", heads=6, head_dim=4, state=5, groups=3, conv=4)
    body = attention_body(spec, HIDDEN)
    vectors = {"attention.conv_x_bias": (24,), "attention.conv_bc_bias": (30,)}
    assert shapes(body) == vectors | {
        "attention.in_zxdt": (24 + 24 + 6, 10),
        "attention.in_bc": (15 + 15, 10),
        "attention.conv_x": (24, 1, 4),
        "attention.conv_bc": (30, 1, 4),
        "attention.dt_bias": (6,),
        "attention.a_log": (6,),
        "attention.d": (6,),
        "attention.out_norm": (24,),
        "attention.o": (10, 24),
    }
    assert uses(body, "conv") == {"attention.conv_x", "attention.conv_bc"}
    # A state of 4 x 5 for each head, and the last 3 of the 4 inputs that the convolutions see.
    assert states(body) == {
        "attention.ssm_state": (6 * 4 * 5, None),
        "attention.conv_x_state": (24 * 3, None),
        "attention.conv_bc_state": (30 * 3, None),
    }
    assert [state.dtype for state in body.states] == ["fp32", "bf16", "bf16"]
    assert sum(flops for flops, _ in operations(body).values()) == 4 * 120
    unbiased = attention_body(spec.model_copy(update={"conv_bias": False}), HIDDEN)
    assert shapes(unbiased) == {name: shape for name, shape in shapes(body).items() if name not in vectors}


def test_short_convolution():
    body = attention_body(ShortConv(kind="short-conv", taps=3), HIDDEN)
    assert shapes(body) == {"attention.in": (30, 10), "attention.conv": (10, 1, 3), "attention.o": (10, 10)}
    assert uses(body, "conv") == {"attention.conv"}
    assert states(body) == {"attention.conv_state": (20, None)}
