"""Worked by hand: attention of 6 query heads over 2 key-value heads, and every option of it."""

from __future__ import annotations

from worked import HIDDEN, operations, shapes, states, uses

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.inventory import Body, Reach
from moe_plan.spec.attention import Attention


def attention(**options) -> Body:
    """6 query heads over 2 key-value heads of width 4."""
    return attention_body(
        Attention(**{"kind": "gqa", "heads": 6, "kv_heads": 2, "head_dim": 4} | options), HIDDEN
    )


def test_gqa():
    body = attention()
    assert shapes(body) == {
        "attention.q": (24, 10),
        "attention.k": (8, 10),
        "attention.v": (8, 10),
        "attention.o": (10, 24),
    }
    assert states(body) == {"attention.keys": (8, Reach()), "attention.values": (8, Reach())}
    assert operations(body) == {"attention.scores": (48, Reach()), "attention.mix": (48, Reach())}
    assert [weight.max_tp for weight in body.weights] == [6, 2, 2, 6]


def test_gqa_value_width():
    body = attention(value_dim=3)
    assert shapes(body) == {
        "attention.q": (24, 10),
        "attention.k": (8, 10),
        "attention.v": (6, 10),
        "attention.o": (10, 18),
    }
    assert states(body) == {"attention.keys": (8, Reach()), "attention.values": (6, Reach())}
    assert operations(body) == {"attention.scores": (48, Reach()), "attention.mix": (36, Reach())}


def test_gqa_low_rank_query():
    assert shapes(attention(q_rank=5)) == {
        "attention.q_a": (5, 10),
        "attention.q_a_norm": (5,),
        "attention.q_b": (24, 5),
        "attention.k": (8, 10),
        "attention.v": (8, 10),
        "attention.o": (10, 24),
    }


def test_gqa_biases():
    body = attention(bias=("q", "k", "v", "o"))
    biases = {
        "attention.q_bias": (24,),
        "attention.k_bias": (8,),
        "attention.v_bias": (8,),
        "attention.o_bias": (10,),
    }
    assert shapes(body) == shapes(attention()) | biases
    assert uses(body, "vector") == set(biases)
    assert shapes(attention(bias=("q",))).keys() - shapes(attention()).keys() == {"attention.q_bias"}


def test_gqa_sinks():
    assert shapes(attention(sinks=True)) == shapes(attention()) | {"attention.sinks": (6,)}


def test_gqa_output_gate():
    assert shapes(attention(gate=True)) == shapes(attention()) | {"attention.gate": (24, 10)}
    assert shapes(attention(gate=True, value_dim=3))["attention.gate"] == (18, 10)


def test_gqa_norms():
    head = {"attention.q_norm": (4,), "attention.k_norm": (4,)}
    whole = {"attention.q_norm": (24,), "attention.k_norm": (8,)}
    assert shapes(attention(qk_norm="head")) == shapes(attention()) | head
    assert shapes(attention(qk_norm="whole")) == shapes(attention()) | whole
    assert uses(attention(qk_norm="whole"), "vector") == set(whole)


def test_gqa_position_bias():
    body = attention(position_buckets=32)
    assert shapes(body) == shapes(attention()) | {"attention.position_bias": (32, 6)}
    assert uses(body, "vector") == {"attention.position_bias"}


def test_gqa_window_and_chunk():
    window, chunk = attention(window=7), attention(chunk=7)
    assert {reach for _, reach in states(window).values()} == {Reach(limit=7)}
    assert {reach for _, reach in operations(window).values()} == {Reach(limit=7)}
    assert {reach for _, reach in states(chunk).values()} == {Reach(limit=7)}
    assert {reach for _, reach in operations(chunk).values()} == {Reach(chunk=7)}


def test_gqa_keys_as_values():
    body = attention(keys_as_values=True, bias=("v",))
    assert shapes(body) == {"attention.q": (24, 10), "attention.k": (8, 10), "attention.o": (10, 24)}
    assert states(body) == states(attention())


def test_gqa_shared_kv():
    body = attention(shared_kv=True, qk_norm="head", bias=("k", "v"))
    assert shapes(body) == {"attention.q": (24, 10), "attention.q_norm": (4,), "attention.o": (10, 24)}
    assert states(body) == {}
    assert operations(body) == operations(attention())


def test_gqa_encoder_and_cross():
    encoder, cross = attention(causal=False), attention(cross=True)
    assert states(encoder) == {}
    assert {reach for _, reach in operations(encoder).values()} == {Reach(causal=False)}
    assert {reach for _, reach in operations(cross).values()} == {Reach(causal=False)}
    assert states(cross) == states(attention())
    assert all(state.source for state in cross.states)


def test_gqa_cross_of_another_width():
    """Keys and values of an encoder 7 wide; they are projected once, in prefill, with their biases and norm."""
    cross = Attention(
        kind="gqa", heads=6, kv_heads=2, head_dim=4, cross=True, bias=("q", "k", "v", "o"), qk_norm="head"
    )
    body = attention_body(cross, HIDDEN, 7)
    assert shapes(body) == {
        "attention.q": (24, 10),
        "attention.q_bias": (24,),
        "attention.q_norm": (4,),
        "attention.k": (8, 7),
        "attention.v": (8, 7),
        "attention.k_bias": (8,),
        "attention.v_bias": (8,),
        "attention.k_norm": (4,),
        "attention.o": (10, 24),
        "attention.o_bias": (10,),
    }
    source = {"attention.k", "attention.v", "attention.k_bias", "attention.v_bias", "attention.k_norm"}
    assert {weight.name for weight in body.weights if weight.phase == "prefill"} == source
    assert {weight.phase for weight in body.weights if weight.name not in source} == {"both"}
    # The queries of every new token are scored against all of them.
    assert {op.phase for op in body.operations} == {"both"}
    assert attention_body(cross, HIDDEN) == attention_body(cross, HIDDEN, HIDDEN)
    # Attention to the decoder's own tokens is not as wide as the encoder.
    own = cross.model_copy(update={"cross": False})
    assert attention_body(own, HIDDEN, 7) == attention_body(own, HIDDEN)
