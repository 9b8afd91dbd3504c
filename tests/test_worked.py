"""Problems worked by hand: one tiny block of every kind, every tensor, state and operation written out.

Hidden width is 10 throughout and no two other sizes of a block are equal where the kind allows it, so
that a wrong width cannot hide behind an equal one.
"""

from __future__ import annotations

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.build import inventory
from moe_plan.anatomy.ffn import ffn_body
from moe_plan.anatomy.inventory import Body, Reach, Weight
from moe_plan.api import model
from moe_plan.estimate import flops, params
from moe_plan.spec.model import (
    Attention,
    AttentionExperts,
    CompressedAttention,
    DenseFfn,
    GatedDelta,
    Indexer,
    KimiDelta,
    LightningAttention,
    Mamba1,
    Mamba2,
    MlaAttention,
    ModelSpec,
    MoeFfn,
    Norm,
    Part,
    Published,
    Router,
    Run,
    ShortConv,
    Tensor,
)

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


def test_attention_experts():
    spec = AttentionExperts(kind="moa", experts=5, top_k=2, heads=3, head_dim=4, output_bias=True)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.router": (5, 10),
        "attention.q": (12, 10),
        "attention.o": (10, 12),
        "attention.k": (12, 10),
        "attention.v": (12, 10),
        "attention.o_bias": (10,),
    }
    assert routed(body) == {"attention.q": (5, 2, 0), "attention.o": (5, 2, 0)}
    assert states(body) == {"attention.keys": (12, Reach()), "attention.values": (12, Reach())}
    assert operations(body) == {"attention.scores": (48, Reach()), "attention.mix": (48, Reach())}


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
    """6 heads of 4 make an inner width of 24; 2 groups of 5 states each: 24 + 2*2*5 convolved channels."""
    spec = Mamba2(kind="mamba2", heads=6, head_dim=4, state=5, groups=2, conv=3)
    body = attention_body(spec, HIDDEN)
    assert shapes(body) == {
        "attention.in": (24 + 44 + 6, 10),
        "attention.conv": (44, 1, 3),
        "attention.conv_bias": (44,),
        "attention.dt_bias": (6,),
        "attention.a_log": (6,),
        "attention.d": (6,),
        "attention.out_norm": (24,),
        "attention.o": (10, 24),
    }
    assert states(body) == {"attention.ssm_state": (120, None), "attention.conv_state": (88, None)}
    assert sum(flops for flops, _ in operations(body).values()) == 4 * 120


def test_short_convolution():
    body = attention_body(ShortConv(kind="short-conv", taps=3), HIDDEN)
    assert shapes(body) == {"attention.in": (30, 10), "attention.conv": (10, 1, 3), "attention.o": (10, 10)}
    assert uses(body, "conv") == {"attention.conv"}
    assert states(body) == {"attention.conv_state": (20, None)}


def test_dense():
    gated = ffn_body(DenseFfn(kind="dense", width=7, bias=True), HIDDEN, VOCAB)
    plain = ffn_body(DenseFfn(kind="dense", width=7, gated=False, bias=True), HIDDEN, VOCAB)
    up = {"dense.up": (7, 10), "dense.down": (10, 7), "dense.up_bias": (7,), "dense.down_bias": (10,)}
    assert shapes(gated) == up | {"dense.gate": (7, 10), "dense.gate_bias": (7,)}
    assert shapes(plain) == up


def experts(**options) -> Body:
    """2 of 5 experts of width 7."""
    return ffn_body(MoeFfn(**{"kind": "moe", "experts": 5, "top_k": 2, "width": 7} | options), HIDDEN, VOCAB)


def test_experts():
    body = experts()
    assert shapes(body) == {
        "router.weight": (5, 10),
        "experts.gate": (7, 10),
        "experts.up": (7, 10),
        "experts.down": (10, 7),
    }
    assert routed(body) == {f"experts.{name}": (5, 2, 5) for name in ("gate", "up", "down")}
    assert shapes(experts(gated=False)).keys() == {"router.weight", "experts.up", "experts.down"}


def test_expert_biases():
    body = experts(bias=True)
    biases = {"experts.gate_bias": (7,), "experts.up_bias": (7,), "experts.down_bias": (10,)}
    assert shapes(body) == shapes(experts()) | biases
    assert {name: routed(body)[name] for name in biases} == dict.fromkeys(biases, (5, 2, 5))
    output = experts(output_bias=True)
    assert shapes(output) == shapes(experts()) | {"experts.output_bias": (10,)}
    assert "experts.output_bias" not in routed(output)


def test_zero_experts():
    """3 experts without weights: the router scores 8, 5 hold weights, a token chooses 2 of 8."""
    body = experts(zero_experts=3)
    assert shapes(body) == shapes(experts()) | {"router.weight": (8, 10)}
    assert routed(body) == {f"experts.{name}": (5, 2, 8) for name in ("gate", "up", "down")}


def test_latent_experts():
    """Experts work in width 4, reached by two projections that every token uses; biases follow the width."""
    body = experts(latent=4, bias=True)
    assert shapes(body) == {
        "router.weight": (5, 10),
        "experts.gate": (7, 4),
        "experts.up": (7, 4),
        "experts.down": (4, 7),
        "experts.gate_bias": (7,),
        "experts.up_bias": (7,),
        "experts.down_bias": (4,),
        "experts.latent_down": (4, 10),
        "experts.latent_up": (10, 4),
    }
    assert not {"experts.latent_down", "experts.latent_up"} & routed(body).keys()


def test_shared_experts():
    shared = {"shared.gate": (13, 10), "shared.up": (13, 10), "shared.down": (10, 13)}
    body = experts(shared_width=13, shared_gate=True)
    assert shapes(body) == shapes(experts()) | shared | {"shared_gate.weight": (1, 10)}
    assert not shared.keys() & routed(body).keys()
    assert shapes(experts(shared_width=13, gated=False)).keys() & shared.keys() == {
        "shared.up",
        "shared.down",
    }
    assert {w.component for w in body.weights if w.name in shared} == {"shared_experts"}


def test_router_extras():
    body = experts(
        zero_experts=3,
        router=Router(
            bias=True, correction_bias="buffer", input_scale=True, expert_scale=True, token_table=True
        ),
    )
    assert {name: shape for name, shape in shapes(body).items() if name.startswith("router")} == {
        "router.weight": (8, 10),
        "router.bias": (8,),
        "router.correction_bias": (8,),
        "router.input_scale": (10,),
        "router.expert_scale": (8,),
        "router.token_table": (2,),
    }
    assert {w.name: w.buffer for w in body.weights if w.buffer} == {
        "router.correction_bias": "fp32",
        "router.token_table": "int64",
    }
    assert routed(body)["router.token_table"] == (VOCAB, 1, 0)
    trained = experts(router=Router(correction_bias="parameter"))
    assert all(weight.buffer is None for weight in trained.weights)


def spec(**options) -> ModelSpec:
    """One dense layer, then two sparse ones, then a dense one: hidden 10, vocabulary 100."""
    return ModelSpec(
        **{
            "name": "worked",
            "source": "this test",
            "published": Published(source="this test"),
            "hidden": HIDDEN,
            "vocab": VOCAB,
            "attention": {"full": Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4)},
            "ffn": {
                "dense": DenseFfn(kind="dense", width=30),
                "experts": MoeFfn(kind="moe", experts=5, top_k=2, width=7, shared_width=13),
            },
            "layers": (
                Run(attention="full", ffn="dense"),
                Run(repeat=2, attention="full", ffn="experts"),
                Run(attention="full", ffn="dense"),
            ),
        }
        | options
    )


# attention 10*24 + 2*10*8 + 24*10; dense 3*30*10; experts 3*7*10 each; shared 3*13*10
ATTENTION, DENSE, EXPERT, SHARED = 640, 900, 210, 390


def test_whole_model():
    counted = model(spec())
    assert counted.components == {
        "embedding": 1000,
        "attention": 4 * ATTENTION,
        "router": 2 * 50,
        "routed_experts": 2 * 5 * EXPERT,
        "shared_experts": 2 * SHARED,
        "dense_mlp": 2 * DENSE,
        "norm": 4 * 20 + 10,
        "lm_head": 1000,
    }
    assert counted.total_params == 9430
    assert counted.active_params == 9430 - 2 * 3 * EXPERT == 8170
    assert counted.active_compute_params == 7170
    assert counted.active_body_params == 6170


def test_whole_model_flops():
    """Twice every matrix on the path: all of active but the table (1,000) and the norms (90)."""
    inventory_ = inventory(spec())
    weights = 2 * (8170 - 1000 - 90)
    assert flops.weight_flops(inventory_) == weights
    assert flops.decode_flops(inventory_, 9) == weights + 4 * 96 * 9
    # Positions 1..9 see 1..9 keys: 45 in all.
    assert flops.prefill_flops(inventory_, 9) == 9 * weights + 4 * 96 * 45
    assert flops.training_flops_per_token(inventory_, 9) == 3 * (weights + 4 * 96 * 5)


def test_layers_keep_their_places():
    blocks = [block for block in inventory(spec()).blocks if block.layers]
    assert [block.layers for block in blocks] == [(0, 3), (1, 2)]


def test_tied_head():
    tied, untied = model(spec(tied=True)), model(spec())
    assert tied.total_params == untied.total_params - 1000
    assert tied.active_params == untied.active_params - 1000
    assert tied.active_compute_params == untied.active_compute_params
    assert tied.active_body_params == untied.active_body_params
    assert flops.weight_flops(tied.inventory) == flops.weight_flops(untied.inventory)
    assert tied.weight_bytes("bf16") == 2 * tied.total_params


def test_pattern():
    """4 x (2 x windowed, full): 12 layers, of which every third sees everything."""
    windowed = Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4, window=5)
    full = Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4)
    inner = (Run(repeat=2, attention="windowed", ffn="dense"), Run(attention="full", ffn="dense"))
    inventory_ = inventory(
        spec(attention={"windowed": windowed, "full": full}, layers=(Run(repeat=4, pattern=inner),))
    )
    assert [block.layers for block in inventory_.blocks if block.layers] == [
        (0, 1, 3, 4, 6, 7, 9, 10),
        (2, 5, 8, 11),
    ]
    assert params.components(inventory_)["attention"] == 12 * ATTENTION


def test_layer_with_several_blocks():
    """Two attention blocks and two FFNs in one layer (LongCat): distinct names, one norm a block."""
    blocks = (Run(attention=("full", "full"), ffn=("dense", "experts", "dense")),)
    layer = next(block for block in inventory(spec(layers=blocks)).blocks if block.layers)
    names = [weight.name for weight in layer.weights]
    assert len(names) == len(set(names))
    assert {"attention.0.q", "attention.1.q", "dense.0.up", "dense.1.up", "experts.up"} <= set(names)
    assert layer.weights[0] == Weight("norm.weight", "norm", (10,), 5, 5, use="vector")
    assert [state.name for state in layer.states] == [
        "attention.0.keys",
        "attention.0.values",
        "attention.1.keys",
        "attention.1.values",
    ]


def test_norms():
    biased = model(spec(norm=Norm(kind="layer", bias=True)))
    assert biased.components["norm"] == 2 * (4 * 20 + 10)
    four = model(spec(layers=(Run(repeat=3, attention="full", ffn="dense", norms=4),), final_norm=False))
    assert four.components["norm"] == 3 * 4 * 10


def test_part_of_its_own_width():
    """A tower of width 6 beside a model of width 10: its attention is 2*6*24 + 2*6*8."""
    tower = Part(
        role="vision",
        hidden=6,
        attention={"image": Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4, causal=False)},
        layers=(Run(repeat=3, attention="image"),),
        tensors=(Tensor(name="patches", shape=(6, 48)),),
    )
    with_tower = model(spec(parts={"eyes": tower}))
    assert with_tower.parts == {"eyes": {"attention": 3 * 384, "norm": 3 * 6 + 6, "other": 288}}
    assert with_tower.components == model(spec()).components
    assert with_tower.decode_flops(9) == model(spec()).decode_flops(9)
    assert with_tower.checkpoint_bytes("bf16") - with_tower.weight_bytes("bf16") == 2 * (3 * 384 + 24 + 288)


def test_encoder_is_text():
    both_ways = {"both": Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4, causal=False)}
    encoder = Part(role="encoder", attention=both_ways, layers=(Run(attention="both", ffn="dense"),))
    assert model(spec(parts={"encoder": encoder})).total_params == 9430 + ATTENTION + DENSE + 30


def test_mtp_is_apart():
    mtp = Part(
        role="mtp",
        layers=(Run(attention="full", ffn="experts"),),
        tensors=(
            Tensor(name="eh_proj", shape=(10, 20)),
            Tensor(name="embed", shape=(100, 10), use="lookup", copy_of="embedding"),
        ),
    )
    with_mtp = model(spec(parts={"mtp": mtp}))
    assert with_mtp.total_params == 9430
    assert with_mtp.parts["mtp"] == {
        "attention": ATTENTION,
        "router": 50,
        "routed_experts": 5 * EXPERT,
        "shared_experts": SHARED,
        "norm": 30,
        "other": 200,
        "copies": 1000,
    }


def test_extra_tensors():
    """A vector, a matrix, a table and a buffer: counted alike, used differently."""
    extra = (
        Tensor(name="scale", shape=(10,)),
        Tensor(name="map", shape=(10, 10)),
        Tensor(name="positions", shape=(50, 10), use="lookup"),
        Tensor(name="mask", shape=(4,), buffer="fp32"),
    )
    plain, counted = model(spec()), model(spec(tensors=extra))
    assert counted.components["other"] == 10 + 100 + 500
    assert flops.weight_flops(counted.inventory) - flops.weight_flops(plain.inventory) == 2 * 100
    assert counted.weight_bytes("bf16") - plain.weight_bytes("bf16") == 2 * 610 + 16


def test_layers_that_differ_in_a_tensor_only():
    """The same block with a trained scale in one layer and a buffer in the next: not the same layer."""
    trained, kept = Tensor(name="scale", shape=(3,)), Tensor(name="scale", shape=(3,), buffer="fp32")
    layers = (
        Run(attention="full", ffn="dense", tensors=(trained,)),
        Run(attention="full", ffn="dense", tensors=(kept,)),
    )
    assert model(spec(layers=layers)).components["other"] == 3


def test_hyper_connections():
    """n streams of width 10: per block 24 maps of n*10, 24 offsets and 3 scales; at the end n maps, n and 1."""
    counted = model(spec(hyper_connections=4))
    assert counted.components["hyper_connections"] == 4 * 2 * (24 * 40 + 24 + 3) + (4 * 40 + 4 + 1)
