"""Worked by hand: what a decode step runs, and what it does not run again."""

from __future__ import annotations

from worked import HIDDEN, VOCAB

from moe_plan.api import Model, load, model
from moe_plan.estimate import flops, params
from moe_plan.estimate.cache import cache_elements
from moe_plan.spec.attention import Attention, Indexer, MlaAttention
from moe_plan.spec.ffn import DenseFfn, MoeFfn
from moe_plan.spec.model import ModelSpec, Part, Published, Run

SELF = Attention(kind="gqa", heads=6, kv_heads=2, head_dim=4)
CROSS = SELF.model_copy(update={"cross": True})
BOTH_WAYS = SELF.model_copy(update={"causal": False})
DENSE = DenseFfn(kind="dense", width=30)


def counted(**fields) -> Model:
    """Hidden 10, vocabulary 100: 1,000 parameters in the table, 1,000 in the head, 10 in the last norm."""
    given = {"name": "worked", "source": "this test", "published": Published(source="this test")}
    return model(ModelSpec(**given | {"hidden": HIDDEN, "vocab": VOCAB} | fields))


def encoder_decoder(width: int | None) -> Model:
    """2 decoder layers over an encoder of 3 layers, 6 wide."""
    encoder = Part(
        role="encoder",
        hidden=width,
        attention={"both": BOTH_WAYS},
        layers=(Run(repeat=3, attention="both", ffn="dense"),),
    )
    return counted(
        attention={"self": SELF, "cross": CROSS},
        ffn={"dense": DENSE},
        layers=(Run(repeat=2, attention=("self", "cross"), ffn="dense"),),
        parts={"encoder": encoder},
    )


# A decoder layer: q and o of 10 x 24, k and v of 10 x 8 to its own tokens and 6 x 8 to the encoder's.
SELF_PARAMS, CROSS_OWN, CROSS_SOURCE, DENSE_PARAMS = 240 + 80 + 80 + 240, 240 + 240, 48 + 48, 3 * 10 * 30
# An encoder layer, 6 wide: q and o of 6 x 24, k and v of 6 x 8, a network of 3 x 6 x 30.
ENCODER_LAYER = 144 + 48 + 48 + 144 + 540
KEYS = 4 * 6 * 4


def test_encoder_of_another_width():
    shipped = encoder_decoder(6)
    decoder = 2 * (SELF_PARAMS + CROSS_OWN + CROSS_SOURCE + DENSE_PARAMS + 30) + 1000 + 1000 + 10
    assert shipped.total_params == decoder + 3 * (ENCODER_LAYER + 12) + 6
    # As wide as the decoder: cross-attention as its own, the encoder's layers 640 and 900.
    same = 2 * (2 * SELF_PARAMS + DENSE_PARAMS + 30) + 2010 + 3 * (SELF_PARAMS + DENSE_PARAMS + 20) + 10
    assert encoder_decoder(None).total_params == encoder_decoder(10).total_params == same


def test_prefill_of_an_encoder_decoder():
    """Every matrix once a token; own keys causal (45 of 9 tokens), the encoder's all seen (81)."""
    shipped = encoder_decoder(6)
    decoder = 2 * (SELF_PARAMS + CROSS_OWN + CROSS_SOURCE + DENSE_PARAMS) + 1000
    weights = 2 * (decoder + 3 * ENCODER_LAYER)
    assert flops.weight_flops(shipped.inventory) == weights
    assert flops.prefill_flops(shipped.inventory, 9) == 9 * weights + KEYS * (2 * 45 + 2 * 81 + 3 * 81)


def test_decode_leaves_out_the_encoder_and_the_keys_of_its_output():
    """The encoder has run, its keys and values are cached: only queries and outputs cross over to them."""
    shipped = encoder_decoder(6)
    matrices = 2 * (SELF_PARAMS + CROSS_OWN + DENSE_PARAMS) + 1000
    assert shipped.decode_flops(9) == 2 * matrices + KEYS * (2 * 9 + 2 * 9)
    # Their norms beside them, and one row of the table.
    assert shipped.decode_weight_bytes(1, "bf16") == 2 * (matrices + 2 * 30 + 10 + 10)
    # Held all the same, and cached: 16 elements a token, a layer and a source.
    assert shipped.weight_bytes("bf16") == 2 * shipped.total_params
    assert shipped.kv_bytes(9) == 2 * 9 * 2 * (16 + 16)


# Switch-Base, 12 layers, 12 heads of 64, width 768: every second of 12 networks has 8 experts.
SWITCH_ATTENTION, SWITCH_NETWORK, SWITCH_HEAD = 768 * 768, 2 * 768 * 3072, 32_128 * 768
SWITCH_DECODE = 12 * (4 + 2) * SWITCH_ATTENTION + 12 * SWITCH_NETWORK + 6 * 8 * 768 + SWITCH_HEAD


def test_switch_decode_flops():
    """q, k, v, o of 12 layers, q and o of 12 crossings, a network each, 6 routers, the head: no encoder."""
    assert SWITCH_DECODE == 123_801_600
    keys = 12 * (4 * 768 * 4096 + 4 * 768 * 4096)
    assert load("switch-base-8").decode_flops(4096) == 2 * SWITCH_DECODE + keys == 549_593_088


def test_switch_decode_bytes():
    """In fp32: what is multiplied, 37 norms, a table of 32 x 12 position biases, one row of the embedding."""
    elements = SWITCH_DECODE + 37 * 768 + 32 * 12 + 768
    assert load("switch-base-8").decode_weight_bytes(1) == 4 * elements
    # A large batch runs all 8 experts, and still neither the encoder nor the keys of its output.
    table = SWITCH_HEAD - 768
    everything = load("switch-base-8").decode_weight_bytes(10**9)
    assert everything == 4 * (elements + 6 * 7 * SWITCH_NETWORK + table)


def test_layers_that_share_an_indexer():
    """One layer chooses 11 keys, three reuse its choice: the indexer's weights, keys and scores stand once."""
    owner = MlaAttention(
        kind="mla",
        heads=6,
        q_rank=5,
        kv_rank=7,
        nope_dim=4,
        rope_dim=2,
        v_dim=3,
        indexer=Indexer(heads=3, head_dim=8, top_k=11),
    )
    shared = owner.indexer.model_copy(update={"shared": True})
    shipped = counted(
        attention={"owner": owner, "sharer": owner.model_copy(update={"indexer": shared})},
        ffn={"dense": DENSE},
        layers=(Run(attention="owner", ffn="dense"), Run(repeat=3, attention="sharer", ffn="dense")),
    )
    indexer = 24 * 5 + 8 * 10 + 2 * 8 + 3 * 10
    assert shipped.components["attention_indexer"] == indexer
    elements = cache_elements(shipped.inventory)
    assert (elements.per_token_indexer, elements.per_token_unbounded) == (8, 4 * (7 + 2))
    # 2h(2r + rope) over 11 of 100 keys in all four layers; 2 * 3 * 8 for each of 100 in one.
    attention = 4 * 2 * 6 * (2 * 7 + 2) * 11 + 48 * 100
    weights = flops.weight_flops(shipped.inventory)
    assert shipped.decode_flops(100) == weights + attention


def test_more_choices_than_experts():
    """6 of 12 choices, of which 2 are experts: each is among them with even odds, both at most."""
    experts = MoeFfn(kind="moe", experts=2, top_k=6, zero_experts=10, width=7)
    shipped = counted(ffn={"experts": experts}, layers=(Run(repeat=3, ffn="experts"),))
    expert, rest = 3 * 7 * 10, 3 * (12 * 10 + 10) + 2010
    assert [shipped.distinct_experts(tokens) for tokens in (1, 2, 3)] == [1.0, 1.5, 1.75]
    assert shipped.total_params == shipped.active_params == rest + 3 * 2 * expert
    # 6/12 of 2 experts.
    assert params.mean_active_params(shipped.inventory) == rest + 3 * 1 * expert
    # Less the rows of the table that a token does not look up: 99 of 100, of 2 tokens 98.01 on average.
    assert shipped.decode_weight_bytes(1, "bf16") == 2 * (rest - 990 + 3 * expert)
    assert shipped.decode_weight_bytes(2, "bf16") == round(2 * (rest - 980.1 + 3 * 1.5 * expert))
