"""Worked by hand: latent, compressed and routed attention, every tensor, state and operation."""

from __future__ import annotations

from worked import HIDDEN, operations, routed, shapes, states, uses

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.inventory import Reach
from moe_plan.spec.attention import AttentionExperts, CompressedAttention, Indexer, MlaAttention

MLA = MlaAttention(kind="mla", heads=6, q_rank=5, kv_rank=7, nope_dim=4, rope_dim=2, v_dim=3)


def test_mla():
    body = attention_body(MLA, HIDDEN)
    assert shapes(body) == {
        "attention.q_a": (5, 10),
        "attention.q_a_norm": (5,),
        "attention.q_b": (36, 5),
        "attention.kv_a": (9, 10),
        "attention.kv_a_norm": (7,),
        "attention.kv_b": (42, 7),
        "attention.o": (10, 18),
    }
    assert uses(body, "vector") == {"attention.q_a_norm", "attention.kv_a_norm"}
    direct = attention_body(MLA.model_copy(update={"q_rank": None}), HIDDEN)
    assert shapes(direct)["attention.q"] == (36, 10)
    assert not {"attention.q_a", "attention.q_a_norm", "attention.q_b"} & shapes(direct).keys()


def test_mla_cache():
    body = attention_body(MLA, HIDDEN)
    assert states(body) == {"attention.latent": (7, Reach()), "attention.rope_keys": (2, Reach())}
    assert {state.max_tp for state in body.states} == {1}


def test_mla_operations():
    """Expanded, 2h(nope+rope) and 2h*v; absorbed, 2h(r+rope) and 2h*r."""
    body = attention_body(MLA, HIDDEN)
    expanded = {op.name: op.flops for op in body.operations if op.phase == "prefill"}
    absorbed = {op.name: op.flops for op in body.operations if op.phase == "decode"}
    assert expanded == {"attention.scores": 2 * 6 * 6, "attention.mix": 2 * 6 * 3}
    assert absorbed == {"attention.latent_scores": 2 * 6 * 9, "attention.latent_mix": 2 * 6 * 7}


def test_mla_indexer():
    sparse = MLA.model_copy(update={"indexer": Indexer(heads=3, head_dim=8, top_k=11)})
    plain, body = attention_body(MLA, HIDDEN), attention_body(sparse, HIDDEN)
    rows = {"indexer.q": (24, 5), "indexer.k": (8, 10), "indexer.k_norm": (2, 8), "indexer.weights": (3, 10)}
    assert shapes(body) == shapes(plain) | rows
    assert states(body) == states(plain) | {"indexer.keys": (8, Reach())}
    assert operations(body)["indexer.scores"] == (48, Reach())
    assert {op.reach for op in body.operations if op.component == "attention"} == {Reach(limit=11)}


def test_mla_shared_indexer():
    """The choice of an earlier layer (GLM-5.2): the block without an indexer, but only 11 keys are seen."""
    shared = MLA.model_copy(update={"indexer": Indexer(heads=3, head_dim=8, top_k=11, shared=True)})
    plain, body = attention_body(MLA, HIDDEN), attention_body(shared, HIDDEN)
    assert body.weights == plain.weights
    assert states(body) == {"attention.latent": (7, Reach()), "attention.rope_keys": (2, Reach())}
    assert operations(body) == {
        "attention.scores": (72, Reach(limit=11)),
        "attention.mix": (36, Reach(limit=11)),
        "attention.latent_scores": (108, Reach(limit=11)),
        "attention.latent_mix": (84, Reach(limit=11)),
    }


def test_compressed_window_only():
    spec = CompressedAttention(
        kind="compressed", heads=6, head_dim=4, q_rank=5, o_groups=3, o_rank=7, sinks=True, window=9
    )
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.q_a": (5, 10),
        "attention.q_a_norm": (5,),
        "attention.q_b": (24, 5),
        "attention.kv": (4, 10),
        "attention.kv_norm": (4,),
        "attention.o_a": (7, 8),
        "attention.o_b": (10, 21),
        "attention.sinks": (6,),
    }
    assert routed(body) == {"attention.o_a": (3, 3, 0)}
    assert states(body) == {"attention.window": (4, Reach(limit=9))}
    assert operations(body) == {
        "attention.scores": (48, Reach(limit=9)),
        "attention.mix": (48, Reach(limit=9)),
    }


def test_compressed_with_indexer():
    spec = CompressedAttention(
        kind="compressed",
        heads=6,
        head_dim=4,
        q_rank=5,
        o_groups=3,
        o_rank=7,
        window=9,
        ratio=2,
        overlap=True,
        indexer=Indexer(heads=3, head_dim=8, top_k=11),
    )
    body = attention_body(spec, HIDDEN)
    compressor = {name: shape for name, shape in shapes(body).items() if not name.startswith("attention")}
    assert compressor == {
        "compressor.kv": (8, 10),
        "compressor.gate": (8, 10),
        "compressor.position_bias": (2, 8),
        "compressor.kv_norm": (4,),
        "indexer.kv": (16, 10),
        "indexer.gate": (16, 10),
        "indexer.position_bias": (2, 16),
        "indexer.kv_norm": (8,),
        "indexer.q": (24, 5),
        "indexer.weights": (3, 10),
    }
    assert states(body) == {
        "attention.window": (4, Reach(limit=9)),
        "compressor.entries": (4, Reach(stride=2)),
        "indexer.keys": (8, Reach(stride=2)),
    }
    assert operations(body)["attention.scores_compressed"] == (48, Reach(limit=11, stride=2))
    assert operations(body)["indexer.scores"] == (48, Reach(stride=2))


def test_compressed_shared_indexer():
    """The compressor and its cache stay, the indexer's rows go; 11 of the entries are seen all the same."""
    plain = CompressedAttention(
        kind="compressed", heads=6, head_dim=4, q_rank=5, o_groups=3, o_rank=7, window=9, ratio=2
    )
    shared = plain.model_copy(update={"indexer": Indexer(heads=3, head_dim=8, top_k=11, shared=True)})
    body = attention_body(shared, HIDDEN)
    assert body.weights == attention_body(plain, HIDDEN).weights
    assert states(body) == {
        "attention.window": (4, Reach(limit=9)),
        "compressor.entries": (4, Reach(stride=2)),
    }
    assert operations(body) == {
        "attention.scores": (48, Reach(limit=9)),
        "attention.mix": (48, Reach(limit=9)),
        "attention.scores_compressed": (48, Reach(limit=11, stride=2)),
        "attention.mix_compressed": (48, Reach(limit=11, stride=2)),
    }


def test_compressed_without_overlap():
    """Neighbouring windows that do not overlap: the compressor projects to one width, and all entries are seen."""
    spec = CompressedAttention(
        kind="compressed", heads=6, head_dim=4, q_rank=5, o_groups=3, o_rank=7, window=9, ratio=2
    )
    body = attention_body(spec, HIDDEN)
    assert {name: shape for name, shape in shapes(body).items() if not name.startswith("attention")} == {
        "compressor.kv": (4, 10),
        "compressor.gate": (4, 10),
        "compressor.position_bias": (2, 4),
        "compressor.kv_norm": (4,),
    }
    assert operations(body)["attention.mix_compressed"] == (48, Reach(stride=2))
    indexed = spec.model_copy(update={"indexer": Indexer(heads=3, head_dim=8, top_k=11)})
    assert shapes(attention_body(indexed, HIDDEN))["indexer.kv"] == (8, 10)


def test_attention_experts():
    spec = AttentionExperts(kind="moa", experts=5, top_k=3, heads=3, head_dim=4, output_bias=True)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.router": (5, 10),
        "attention.q": (12, 10),
        "attention.o": (10, 12),
        "attention.k": (12, 10),
        "attention.v": (12, 10),
        "attention.o_bias": (10,),
    }
    assert routed(body) == {"attention.q": (5, 3, 0), "attention.o": (5, 3, 0)}
    assert states(body) == {"attention.keys": (12, Reach()), "attention.values": (12, Reach())}
    assert operations(body) == {"attention.scores": (72, Reach()), "attention.mix": (72, Reach())}
