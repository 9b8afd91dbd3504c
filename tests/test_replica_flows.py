"""How blocks become layers and layers a model, by the formulas of CONTRIBUTING.md; norms by their definition."""

from __future__ import annotations

import math
import os

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from mixers import call_of, difference, inputs

from moe_plan.errors import ReplicaError
from moe_plan.replica.build import materialise, on_meta
from moe_plan.replica.cache import Cache
from moe_plan.replica.call import Call, Options
from moe_plan.replica.hyper import doubly_stochastic
from moe_plan.replica.norm import Norms, rms
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn, MoeFfn
from moe_plan.spec.model import ModelSpec, Norm, Part, Published, Run, Tensor

HIDDEN, VOCAB, TOKENS = 12, 37, 7
CLOSE = 3e-6
"""Of the largest value: float32 sums in another order."""
CPU = torch.device("cpu")
ATTENTION = {
    "full": Attention(kind="gqa", heads=2, kv_heads=2, head_dim=6),
    "near": Attention(kind="gqa", heads=3, kv_heads=1, head_dim=4, window=3),
    "cross": Attention(kind="gqa", heads=2, kv_heads=1, head_dim=4, rope=None, cross=True),
    "both": Attention(kind="gqa", heads=2, kv_heads=2, head_dim=4, causal=False),
}
FFN = {
    "dense": DenseFfn(kind="dense", width=5),
    "wide": DenseFfn(kind="dense", width=9, gated=False, activation="gelu"),
    "experts": MoeFfn(kind="moe", experts=5, top_k=2, width=3, shared_width=4),
}


def spec_of(*layers: Run, **fields) -> ModelSpec:
    known = {"name": "by-hand", "source": "a test", "hidden": HIDDEN, "vocab": VOCAB}
    return ModelSpec(
        **known
        | {"published": Published(source="a test"), "attention": ATTENTION, "ffn": FFN, "layers": layers}
        | fields
    )


def made(*layers: Run, **fields):
    return materialise(on_meta(spec_of(*layers, **fields)), CPU, 3)


def joined(run: Run, by_hand, streams: int | None = None, **fields) -> None:
    """A layer of `run` is what `by_hand(x, n, blocks, layer, call)` says: n(i, x) its norms, its blocks in order."""
    replica = made(run, hyper_connections=streams, **fields)
    (layer,) = replica.decoder.layers
    x = inputs(2, TOKENS, HIDDEN * (streams or 1))
    x = x if streams is None else x.view(2, TOKENS, streams, HIDDEN)
    call = call_of(x[..., 0])
    blocks = [
        *(lambda h, b=block: b(h, None, call) for block in layer.mixers),
        *(lambda h, b=block: b(h, call) for block in layer.ffns),
    ]
    expected = by_hand(x.clone(), lambda i, h: layer.norms(h, i), blocks, layer, call)
    before = x.clone()
    assert difference(layer(x, None, call), expected) < CLOSE, run.flow
    assert torch.equal(x, before), "a layer leaves its input alone"


def test_sequential():
    def by_hand(x, n, blocks, _layer, _call):
        for i, block in enumerate(blocks):
            x = x + 0.3 * block(n(i, x))
        return x

    joined(Run(attention=("full", "near"), ffn=("experts", "dense")), by_hand, residual_scale=0.3)


def test_sandwich():
    def by_hand(x, n, blocks, _layer, _call):
        for i, block in enumerate(blocks):
            x = x + 0.3 * n(2 * i + 1, block(n(2 * i, x)))
        return x

    joined(Run(attention="full", ffn="experts", flow="sandwich"), by_hand, residual_scale=0.3)


def test_normed_residual():
    def by_hand(x, n, blocks, _layer, _call):
        for i, block in enumerate(blocks):
            x = n(i, x)
            x = 3.5 * x + block(x)
        return x

    joined(Run(attention="near", ffn="wide", flow="normed-residual", residual_alpha=3.5), by_hand)


def test_dense_residual():
    def by_hand(x, n, blocks, _layer, _call):
        attention, dense, experts = blocks
        y = x + attention(n(0, x))
        return y + dense(n(1, y)) + experts(n(2, x))

    joined(Run(attention="full", ffn=("wide", "experts"), flow="dense-residual"), by_hand)


def test_shortcut():
    def by_hand(x, n, blocks, _layer, _call):
        first, second, dense_0, dense_1, experts = blocks
        a = x + first(n(0, x))
        h = n(1, a)
        b = a + dense_0(h)
        c = b + second(n(2, b))
        return c + dense_1(n(3, c)) + experts(h)

    joined(Run(attention=("full", "near"), ffn=("dense", "wide", "experts"), flow="shortcut"), by_hand)


def test_parallel_sandwich():
    def by_hand(x, n, blocks, layer, call):
        attention, dense, _ = blocks
        y = x + n(1, attention(n(0, x)))
        both = n(3, dense(n(2, y))) + n(5, layer.ffns[1](n(4, y), call, y))
        return (y + n(6, both)) * 1.25

    def with_scalar(x, n, blocks, layer, call):
        layer.extra.named("layer_scalar").fill_(1.25)
        return by_hand(x, n, blocks, layer, call)

    scalar = Tensor(name="layer_scalar", shape=(1,), buffer="fp32")
    run = Run(attention="full", ffn=("wide", "experts"), flow="parallel-sandwich", tensors=(scalar,))
    joined(run, with_scalar)


def test_streams():
    """Each block reads a weighted sum of the streams; what it gives is written to all, and they are mixed."""

    def by_hand(x, n, blocks, layer, _call):
        for i, (block, hyper) in enumerate(zip(blocks, layer.hypers, strict=True)):
            flat = x.flatten(2)
            maps = flat @ hyper.maps.T / torch.sqrt((flat * flat).mean(-1, keepdim=True) + 1e-6)
            pre, post, mixing = maps.split((3, 3, 9), -1)
            base, scale = hyper.base, hyper.scale
            pre = torch.sigmoid(pre * scale[0] + base[:3]) + 1e-6
            post = 2 * torch.sigmoid(post * scale[1] + base[3:6])
            mixing = torch.softmax((mixing * scale[2] + base[6:]).view(2, TOKENS, 3, 3), -1) + 1e-6
            mixing = doubly_stochastic(mixing)
            out = block(n(i, torch.einsum("bts,btsd->btd", pre, x)))
            x = torch.einsum("btij,btid->btjd", mixing, x) + post[..., None] * out[:, :, None]
        return x

    joined(Run(attention="full", ffn="dense"), by_hand, streams=3)


# Norms.


def test_norms():
    x = inputs(2, 3, HIDDEN)
    for kind in ("rms", "layer"):
        for bias in (False, True):
            for less_one in (False, True):
                # Large, so that a forgotten eps shows.
                norm = Norm(kind=kind, bias=bias and kind == "layer", eps=0.3, zero_centered=less_one)
                norms = Norms(norm, 3, HIDDEN)
                norms.materialise(CPU, torch.Generator().manual_seed(1))
                for index in range(3):
                    centred = x - x.mean(-1, keepdim=True) if kind == "layer" else x
                    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 0.3)
                    expected = scaled * (norms.weight[index] + less_one)
                    expected = expected + norms.bias[index] if norm.bias else expected
                    assert difference(norms(x, index), expected) < CLOSE, norm


def test_a_norm_of_a_narrow_type_sums_in_float32():
    x = inputs(1, 1, 4096).bfloat16() + 7
    exact = x.double() / torch.sqrt((x.double() ** 2).mean(-1, keepdim=True) + 1e-6)
    assert difference(rms(x, None, 1e-6), exact) < 2**-8
    assert rms(x, None, 1e-6).dtype == torch.bfloat16


# The whole model.

LAYERS = (Run(attention="full", ffn="dense"), Run(attention="near", ffn="experts"))


def ids_of(tokens=TOKENS, seed=2):
    return torch.randint(0, VOCAB, (2, tokens), generator=torch.Generator().manual_seed(seed))


def test_embeddings_and_logits():
    fields = {"embedding_scale": "sqrt-hidden", "logit_scale": 0.7, "logit_softcap": 0.9, "head_bias": True}
    for tied in (False, True):
        replica, ids = made(*LAYERS, tied=tied, **fields), ids_of()
        x = replica.embedding[ids] * math.sqrt(HIDDEN)
        y = replica.decoder(x, None, Call(ids, 0, Norm(), Options()))
        table = replica.embedding if tied else replica.lm_head
        expected = 0.9 * torch.tanh((y @ table.T + replica.head_bias.bias) * 0.7 / 0.9)
        assert difference(replica(ids), expected) < CLOSE
        last = replica(ids, None, Options(logits="last"))
        assert difference(last, expected[:, -1:]) < CLOSE
        names = {name for name, _ in replica.tensors()}
        assert ("decoder.lm_head" in names) is not tied


def test_a_logit_scale_by_the_width():
    plain, scaled = made(*LAYERS), made(*LAYERS, logit_scale="rsqrt-hidden")
    assert difference(scaled(ids_of()), plain(ids_of()) / math.sqrt(HIDDEN)) < CLOSE


def test_the_final_norm():
    with_norm, without = (
        made(*LAYERS, norm=Norm(eps=0.1)),
        made(*LAYERS, norm=Norm(eps=0.1), final_norm=False),
    )
    without.load_state_dict(
        {name: tensor for name, tensor in with_norm.state_dict().items() if "final" not in name}, assign=True
    )
    x, call = inputs(2, TOKENS, HIDDEN), Call(ids_of(), 0, Norm(), Options())
    y = without.decoder(x, None, call)
    expected = y / torch.sqrt((y * y).mean(-1, keepdim=True) + 0.1) * with_norm.decoder.final.weight[0]
    assert difference(with_norm.decoder(x, None, call), expected) < CLOSE


def test_a_cache_counts_its_tokens():
    replica, ids = made(*LAYERS), ids_of()
    cache, outs = Cache(replica, 2, TOKENS), []
    for first, last in ((0, 3), (3, 4), (4, 5), (5, TOKENS)):
        assert cache.tokens == first
        outs.append(replica(ids[:, first:last], cache))
    assert cache.tokens == TOKENS
    assert difference(torch.cat(outs, 1), replica(ids)) < CLOSE
    held = {(state.layer, state.name): state.elements for state in cache.held()}
    assert held == {
        (0, "attention.keys"): 2 * TOKENS * 12,
        (0, "attention.values"): 2 * TOKENS * 12,
        (1, "attention.keys"): 2 * 3 * 4,
        (1, "attention.values"): 2 * 3 * 4,
    }


READER = {"reader": Part(role="encoder", layers=(Run(attention="both", ffn="dense"),))}
READING = (Run(attention=("full", "cross"), ffn="dense"), Run(attention=("near", "cross"), ffn="experts"))


def test_the_source_is_read_once():
    """Keys of the encoder's output are made with the first tokens, and kept as they are."""
    replica, ids, source = made(*READING, parts=READER), ids_of(), ids_of(5, seed=9)
    whole = replica(ids, None, Options(), source)
    for pieces in ([TOKENS], [1] * TOKENS, [4, 1, 2]):
        cache, outs = Cache(replica, 2, TOKENS), []
        for new in pieces:
            part = ids[:, cache.tokens : cache.tokens + new]
            outs.append(replica(part, cache, Options(), None if cache.tokens else source))
        assert difference(torch.cat(outs, 1), whole) < CLOSE
        held = {state.name: state.elements for state in cache.held() if state.layer == 0}
        assert held == {
            "attention.0.keys": 2 * TOKENS * 12,
            "attention.0.values": 2 * TOKENS * 12,
            "attention.1.keys": 2 * 5 * 4,
            "attention.1.values": 2 * 5 * 4,
        }
    other = replica(ids, None, Options(), ids_of(5, seed=10))
    assert difference(other, whole) > 0.01


def test_an_encoder_sees_the_whole_source():
    replica, source = made(*READING, parts=READER), ids_of(5, seed=9)
    changed = source.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert difference(replica.encode(changed)[:, 0], replica.encode(source)[:, 0]) > 1e-3


def test_rows_are_counted_by_layer_of_the_decoder():
    parts = {"reader": Part(role="encoder", layers=(Run(repeat=3, attention="both", ffn="experts"),))}
    counts = {}
    made(*READING, parts=parts)(ids_of(), None, Options(counts=counts), ids_of(5))
    assert counts.keys() == {1}
    assert sum(counts[1]) == 2 * TOKENS * 2


def test_an_encoder_of_another_width_is_refused():
    parts = {"reader": Part(role="encoder", hidden=8, layers=(Run(attention="both", ffn="dense"),))}
    replica = made(*READING, parts=parts)
    with pytest.raises(ReplicaError, match="reader is 8 wide, and what it reads 12"):
        replica.encode(ids_of())


def test_tensors_that_no_block_describes():
    """Under the spec's own names, which may have dots or be those of a module's attributes."""
    tensors = (
        Tensor(name="extra.a", shape=(3, 4), buffer="int64"),
        Tensor(name="forward", shape=(5,)),
        Tensor(name="second", shape=(VOCAB, HIDDEN), copy_of="embedding"),
    )
    replica = made(Run(attention="full", ffn="dense", tensors=tensors), tensors=tensors)
    found = {name: tensor.shape for name, tensor in replica.tensors()}
    for place in ("decoder.0", "decoder"):
        assert found.get(f"{place}.extra.a") == (3, 4)
        assert found.get(f"{place}.forward") == (5,)
        assert f"{place}.second" not in found
    assert replica(ids_of()).isfinite().all()
