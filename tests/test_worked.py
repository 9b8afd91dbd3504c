"""Worked by hand: a whole model of four layers, and what its spec may say about them."""

from __future__ import annotations

import pytest
from worked import HIDDEN, VOCAB

from moe_plan.anatomy.build import inventory
from moe_plan.anatomy.inventory import Weight
from moe_plan.api import model
from moe_plan.estimate import flops, params
from moe_plan.estimate.weights import part_bytes
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router
from moe_plan.spec.model import Checkpoint, ModelSpec, Norm, Part, Published, Run, Tensor


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


@pytest.mark.parametrize(
    ("flow", "attention", "ffn", "each"),
    [
        ("sequential", "full", "dense", 2),
        ("sequential", ("full", "full"), ("dense", "experts", "dense"), 5),
        ("sequential", "full", None, 1),
        ("sandwich", "full", "dense", 4),
        ("sandwich", None, "experts", 2),
        ("normed-residual", "full", "experts", 2),
        ("dense-residual", "full", ("dense", "experts"), 3),
        ("shortcut", ("full", "full"), ("dense", "dense", "experts"), 4),
        ("parallel-sandwich", "full", ("dense", "experts"), 7),
    ],
)
def test_norms_of_a_flow(flow, attention, ffn, each):
    run = Run(repeat=3, attention=attention, ffn=ffn, flow=flow)
    assert model(spec(layers=(run,), final_norm=False)).components["norm"] == 3 * each * 10


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
    assert with_tower.prefill_flops_per_token(9) == model(spec()).prefill_flops_per_token(9)
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
    # A table is active as a whole, and multiplied by nothing.
    assert counted.active_params - plain.active_params == 10 + 100 + 500
    assert counted.active_compute_params - plain.active_compute_params == 10 + 100
    assert counted.active_body_params - plain.active_body_params == 10 + 100
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
    plain, counted = model(spec()), model(spec(hyper_connections=4))
    assert counted.components["hyper_connections"] == 4 * 2 * (24 * 40 + 24 + 3) + (4 * 40 + 4 + 1)
    # The maps are matrices, and in each of 8 blocks a 4 x 4 matrix mixes the streams.
    maps, mixing = 2 * (8 * 24 * 40 + 4 * 40), 8 * 2 * 4 * 4 * 10
    assert counted.decode_flops(9) - plain.decode_flops(9) == maps + mixing


def test_storage_of_parts_and_of_a_repeated_head():
    """A tower's bytes apart from the text's; a tied head that the release stores a second time."""
    tower = Part(role="vision", layers=(Run(attention="full"),), final_norm=False)
    native = Checkpoint(default="bf16", stores_tied_head=True)
    counted = model(spec(tied=True, native=native, parts={"eyes": tower}))
    assert part_bytes(counted.inventory, counted.storage()) == {"eyes": 2 * (ATTENTION + 10)}
    assert counted.checkpoint_bytes() == 2 * (9430 - 1000) + 2 * 1000 + 2 * (ATTENTION + 10)
    assert counted.weight_bytes() == 2 * (9430 - 1000)


def test_buffers_take_their_own_types():
    """2 routing entries a vocabulary row in int64 and 5 biases in fp32, in each of the 2 sparse layers."""
    router = Router(correction_bias="buffer", token_table=True)
    experts = MoeFfn(kind="moe", experts=5, top_k=2, width=7, shared_width=13, router=router)
    dense = DenseFfn(kind="dense", width=30)
    counted = model(spec(ffn={"dense": dense, "experts": experts}))
    assert counted.total_params == 9430
    assert counted.weight_bytes("bf16") == 2 * 9430 + 2 * (100 * 2 * 8 + 5 * 4)
    assert params.buffer_elements(counted.inventory) == 2 * (100 * 2 + 5)


def test_mean_active_with_zero_experts():
    """2 of 8 choices fall on 5 real experts: 1.25 experts a layer on average, 2 at most."""
    experts = MoeFfn(kind="moe", experts=5, top_k=2, width=7, zero_experts=3, bias=True)
    counted = model(spec(ffn={"dense": DenseFfn(kind="dense", width=30), "experts": experts}))
    expert = EXPERT + 7 + 7 + 10
    rest = counted.total_params - 2 * 5 * expert
    assert counted.active_params == rest + 2 * 2 * expert
    assert params.mean_active_params(counted.inventory) == rest + 2 * 5 * expert // 4
