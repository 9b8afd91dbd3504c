"""Attention of the replica by its definition: one query, one head, one key at a time; and the stores behind it."""

from __future__ import annotations

import math
import os
from random import Random

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from mixers import HIDDEN, at_once, call_of, difference, in_pieces, inputs, made

from moe_plan.replica.attention.compressed import Compressed
from moe_plan.replica.attention.gqa import GroupedQueryAttention, Widths
from moe_plan.replica.attention.mla import MlaMixer
from moe_plan.replica.attention.relative import position_bias
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import inverse_frequencies, tables
from moe_plan.replica.store import Fixed, Store
from moe_plan.spec.attention import Attention, CompressedAttention, Indexer, MlaAttention
from moe_plan.spec.model import Norm
from moe_plan.spec.rope import Llama3, Rope, Temperature, Yarn

TOKENS = 9
CLOSE = 3e-6
"""Of the largest value: float32 sums in another order."""
PIECES = ([TOKENS], [1] * TOKENS, [1, 5, 1, 2], [6, 1, 2])


# Stores: against a list of everything that was ever given.


def extended(limit: int | None, pieces: list[int], capacity: int) -> None:
    like = torch.zeros(())
    store, given = Store(2, 3, capacity, like, limit), torch.zeros((2, 0, 3))
    random = Random(str((limit, pieces)))
    for new in pieces:
        fresh = torch.randn((2, new, 3), generator=torch.Generator().manual_seed(given.shape[1]))
        held = given.shape[1] if limit is None else min(limit, given.shape[1])
        # A window asks for one key fewer than it holds, where there is one; a chunk for what it has begun.
        back = random.randint(0, held if limit is None else min(held, limit - 1))
        seen = store.extend(fresh, back)
        expected = torch.cat((given[:, given.shape[1] - back :], fresh), 1)
        if new == 1:
            # Nothing is masked for a single token, so that the ring's own order will do.
            seen, expected = (
                torch.stack([rows[rows[:, 0].argsort()] for rows in each]) for each in (seen, expected)
            )
        assert torch.equal(seen, expected), (limit, pieces, back)
        given = torch.cat((given, fresh), 1)
        entries = given.shape[1] if limit is None else min(given.shape[1], limit)
        assert store.count == given.shape[1]
        assert store.entries == entries
        assert store.held_elements == 2 * 3 * entries
    slots = capacity if limit is None else min(capacity, limit)
    assert store.allocated_bytes == 2 * 3 * slots * 4
    assert store.itemsize == 4


def test_a_store_gives_back_the_last_entries():
    for limit in (None, 1, 2, 4, 5, 40):
        for pieces in ([1] * 12, [12], [3, 1, 1, 1, 1, 5], [5, 4, 3], [1, 2, 1, 8], [4, 1, 4, 1, 2]):
            extended(limit, pieces, 12)
            extended(limit, pieces, 15)


def test_a_fixed_state_holds_all_of_itself():
    kept = Fixed(3, (2, 5), torch.bfloat16, torch.device("cpu"))
    assert (kept.held_elements, kept.itemsize, kept.allocated_bytes) == (30, 2, 60)
    assert not kept.value.any()


# Rotary positions, norms and softmax, from their papers.


def turned(x_d, position: int, rope: Rope | None):
    """One head's channels, the first `dim` of them turned."""
    out, dim = x_d.clone(), len(x_d)
    if rope is None:
        return out
    width = rope.dim or dim - dim % 2
    for pair in range(width // 2):
        angle = position * rope.theta ** (-2 * pair / width)
        a, b = (2 * pair, 2 * pair + 1) if rope.interleaved else (pair, pair + width // 2)
        out[a] = x_d[a] * math.cos(angle) - x_d[b] * math.sin(angle)
        out[b] = x_d[b] * math.cos(angle) + x_d[a] * math.sin(angle)
    return out


def normed(x, weight, norm: Norm):
    factor = 1 / math.sqrt(float((x * x).mean()) + norm.eps)
    return x * factor * (1.0 if weight is None else weight + 1 if norm.zero_centered else weight)


def softmax(scores: list[float], sink: float | None = None) -> list[float]:
    highest = max([*scores, *([] if sink is None else [sink])])
    weights = [math.exp(score - highest) for score in scores]
    total = sum(weights) + (0.0 if sink is None else math.exp(sink - highest))
    return [weight / total for weight in weights]


def seen_by(spec: Attention, position: int) -> range:
    if spec.window is not None:
        return range(max(0, position + 1 - spec.window), position + 1)
    start = position - position % spec.chunk if spec.chunk is not None else 0
    return range(start, position + 1)


def projected(ours, name: str, x_D, heads: int, position: int):
    """Queries or keys of one token, [heads, d]."""
    spec, norm = ours.spec, ours.norm
    if name == "q" and spec.q_rank is not None:
        flat = ours.q_b @ normed(ours.q_a @ x_D, ours.q_a_norm, Norm(eps=norm.eps))
    else:
        flat = getattr(ours, name) @ x_D
    bias = getattr(ours, f"{name}_bias")
    flat = flat if bias is None else flat + bias
    flat = flat if spec.clip is None else flat.clamp(-spec.clip, spec.clip)
    weight = getattr(ours, f"{name}_norm") if spec.qk_norm in ("head", "whole") else None
    if spec.qk_norm == "whole":
        flat = normed(flat, weight, norm)
    each = []
    by_head, late = spec.qk_norm in ("head", "unit"), spec.qk_norm_after_rope
    for plain in flat.view(heads, spec.head_dim):
        head = turned(normed(plain, weight, norm) if by_head and not late else plain, position, spec.rope)
        each.append(normed(head, weight, norm) if by_head and late else head)
    return torch.stack(each)


def values_of(ours, x_D):
    spec = ours.spec
    name = "k" if spec.keys_as_values else "v"
    flat, bias = getattr(ours, name) @ x_D, getattr(ours, f"{name}_bias")
    flat = flat if bias is None else flat + bias
    flat = flat if spec.clip is None else flat.clamp(-spec.clip, spec.clip)
    heads = flat.view(spec.kv_heads, -1)
    return torch.stack([normed(head, None, ours.norm) for head in heads]) if spec.value_norm else heads


def attention_by_hand(ours, x_TD):
    spec = ours.spec
    scale = spec.scale if spec.scale is not None else 1 / math.sqrt(spec.head_dim)
    keys = [projected(ours, "k", x_D, spec.kv_heads, at) for at, x_D in enumerate(x_TD)]
    values = [values_of(ours, x_D) for x_D in x_TD]
    outs = []
    for at, x_D in enumerate(x_TD):
        factor = 1.0
        if spec.temperature is not None:
            spans = (at + spec.temperature.first) // spec.temperature.span
            factor += spec.temperature.beta * math.log(1 + spans)
        queries, heads = projected(ours, "q", x_D, spec.heads, at), []
        for head in range(spec.heads):
            group = head // (spec.heads // spec.kv_heads)
            scores = [factor * scale * float(queries[head] @ keys[s][group]) for s in seen_by(spec, at)]
            if spec.softcap is not None:
                scores = [spec.softcap * math.tanh(score / spec.softcap) for score in scores]
            weights = softmax(scores, float(ours.sinks[head]) if spec.sinks else None)
            heads.append(sum(w * values[s][group] for w, s in zip(weights, seen_by(spec, at), strict=True)))
        mixed = torch.cat(heads)
        if spec.gate:
            mixed = mixed * torch.sigmoid(ours.gate @ x_D)
        out = ours.o @ mixed
        outs.append(out if ours.o_bias is None else out + ours.o_bias)
    return torch.stack(outs)


PLAIN = Norm(eps=1e-5)
LESS_ONE = Norm(eps=1e-3, zero_centered=True)
GQA = {
    "plain": ({}, PLAIN),
    "window": ({"window": 4}, PLAIN),
    "a window of one": ({"window": 1}, PLAIN),
    "chunk": ({"chunk": 4}, PLAIN),
    "softcap": ({"softcap": 0.7, "scale": 0.9}, PLAIN),
    "sinks": ({"sinks": True, "window": 5}, PLAIN),
    "clip": ({"clip": 0.6, "bias": ("q", "k", "v", "o")}, PLAIN),
    "gate": ({"gate": True, "value_dim": 7}, PLAIN),
    "norm of a head": ({"qk_norm": "head"}, LESS_ONE),
    "norm of all heads": ({"qk_norm": "whole", "rope": None}, Norm(eps=0.2)),
    "unit norm after": ({"qk_norm": "unit", "qk_norm_after_rope": True}, Norm(eps=0.3)),
    "norm of a head after": ({"qk_norm": "head", "qk_norm_after_rope": True}, LESS_ONE),
    "values from keys": ({"keys_as_values": True, "value_norm": True, "clip": 0.8}, Norm(eps=0.1)),
    "values and keys normed": ({"value_norm": True, "qk_norm": "head"}, PLAIN),
    "low rank": ({"q_rank": 5, "kv_heads": 1}, LESS_ONE),
    "neighbours": ({"rope": Rope(theta=50.0, dim=6, interleaved=True)}, PLAIN),
    "temperature": ({"rope": None, "temperature": Temperature(beta=0.8, span=3, first=1)}, PLAIN),
}


def gqa(name: str):
    fields, norm = GQA[name]
    sizes = {"heads": 4, "kv_heads": 2, "head_dim": 10, "rope": Rope(theta=30.0)}
    spec = Attention(kind="gqa", **sizes | fields)
    return made(GroupedQueryAttention(spec, Widths(HIDDEN, HIDDEN), norm))


def assert_by_hand(ours, by_hand, name: str) -> None:
    """Without a cache, and in every way through one."""
    x = inputs(2, TOKENS)
    expected = torch.stack([by_hand(ours, x_TD) for x_TD in x])
    assert difference(at_once(ours, x), expected) < CLOSE, name
    for pieces in PIECES:
        assert difference(in_pieces(ours, x, pieces, query_block=5), expected) < CLOSE, (name, pieces)


REACHES = ("plain", "window", "a window of one", "chunk", "sinks")


def test_windows_and_chunks():
    for name in REACHES:
        assert_by_hand(gqa(name), attention_by_hand, name)


def test_options_of_attention():
    for name in [name for name in GQA if name not in REACHES]:
        assert_by_hand(gqa(name), attention_by_hand, name)


def test_keys_of_an_earlier_layer():
    """A layer that shares them sees what the layer before it saw; the norm of its queries is its own."""
    first = gqa("window")
    spec = first.spec.model_copy(update={"shared_kv": True})
    second = GroupedQueryAttention(spec, Widths(HIDDEN, HIDDEN), PLAIN)
    assert {name for name, _ in second.tensors()} == {"attention.q", "attention.o"}
    second.load_state_dict({name: first.state_dict()[name] for name in ("q", "o")}, assign=True)
    x = inputs(2, TOKENS)
    state, start = first.state(2, TOKENS, x), 0
    assert second.state(2, TOKENS, x) == {}
    for new in (6, 1, 2):
        part = x[:, start : start + new]
        call = call_of(part, start)
        assert torch.equal(first(part, state, call), second(part, {}, call))
        start += new


# Relative positions.


def bucket(offset: int, buckets: int, distance: int, *, causal: bool) -> int:
    """T5's: arXiv 1910.10683, section 2.1."""
    base, apart = 0, max(0, -offset)
    if not causal:
        buckets //= 2
        base, apart = buckets * (offset > 0), abs(offset)
    exact = buckets // 2
    if apart < exact:
        return base + apart
    far = math.log(apart / exact) / math.log(distance / exact) * (buckets - exact)
    return base + min(buckets - 1, exact + int(far + 1e-9))


def test_buckets_of_distances():
    table = torch.arange(24.0).view(8, 3)
    for causal in (True, False):
        bias = position_bias(table, range(5, 9), range(2, 40), 20, causal=causal)
        assert bias.shape == (3, 4, 38)
        for t, query in enumerate(range(5, 9)):
            for s, key in enumerate(range(2, 40)):
                row = bucket(key - query, 8, 20, causal=causal)
                assert bias[:, t, s].tolist() == table[row].tolist(), (query, key, causal)


def test_the_table_of_the_first_layer():
    """Added to the scores of its own layer and of those that share it, and of no other."""
    fields = {"heads": 3, "kv_heads": 3, "head_dim": 8, "rope": None}
    widths = Widths(HIDDEN, HIDDEN)
    own = made(GroupedQueryAttention(Attention(kind="gqa", position_buckets=6, **fields), widths, PLAIN))
    own.position_bias.mul_(20)
    weights = {name: tensor for name, tensor in own.state_dict().items() if name != "position_bias"}
    shared, without = (
        GroupedQueryAttention(Attention(kind="gqa", shared_positions=flag, **fields), widths, PLAIN)
        for flag in (True, False)
    )
    for other in (shared, without):
        other.load_state_dict(weights, assign=True)
    x = inputs(2, TOKENS)
    call = call_of(x)
    first = own(x, None, call)
    assert torch.equal(shared(x, None, call), first)
    assert difference(without(x, None, call), first) > 0.01
    assert torch.equal(without(x, None, call), without(x, None, call_of(x)))


# Multi-head latent attention.

YARN = Yarn(kind="yarn", factor=8.0, original_context=16, mscale=0.8, mscale_all_dim=0.6)
MLA = {
    "plain": {},
    "direct queries": {"q_rank": None, "rope": Rope(theta=40.0)},
    "scaled": {"scale": 0.5, "rank_scaling": True, "temperature": Temperature(beta=0.7, span=4)},
    "not turned": {"rope": None, "eps": 0.1},
}


def mla(**fields):
    sizes = {"heads": 3, "q_rank": 11, "kv_rank": 9, "nope_dim": 7, "rope_dim": 6, "v_dim": 5}
    turns = {"rope": Rope(theta=40.0, interleaved=True), "eps": 1e-4}
    return made(MlaMixer(MlaAttention(kind="mla", **sizes | turns | fields), HIDDEN, PLAIN))


def latent_by_hand(ours, x_TD):
    """Keys and values of every head written out, DeepSeek-V2 section 2.1."""
    spec, norm = ours.spec, Norm(eps=ours.spec.eps)
    scale = spec.scale if spec.scale is not None else (spec.nope_dim + spec.rope_dim) ** -0.5
    latent_scale = math.sqrt(HIDDEN / spec.kv_rank) if spec.rank_scaling else 1.0
    if spec.rank_scaling and spec.q_rank is not None:
        scale *= math.sqrt(HIDDEN / spec.q_rank)
    up = ours.kv_b.view(spec.heads, spec.nope_dim + spec.v_dim, spec.kv_rank)
    keys, values, outs = [], [], []
    for at, x_D in enumerate(x_TD):
        both = ours.kv_a @ x_D
        latent = normed(both[: spec.kv_rank], ours.kv_a_norm, norm) * latent_scale
        shared = turned(both[spec.kv_rank :], at, spec.rope)
        each = [up[head] @ latent for head in range(spec.heads)]
        keys.append([torch.cat((one[: spec.nope_dim], shared)) for one in each])
        values.append([one[spec.nope_dim :] for one in each])
        low = x_D if spec.q_rank is None else normed(ours.q_a @ x_D, ours.q_a_norm, norm)
        query = ((ours.q if spec.q_rank is None else ours.q_b) @ low).view(spec.heads, -1)
        factor = scale
        if spec.temperature is not None:
            factor *= 1 + spec.temperature.beta * math.log(1 + at // spec.temperature.span)
        heads = []
        for head in range(spec.heads):
            part = turned(query[head][spec.nope_dim :], at, spec.rope)
            full = torch.cat((query[head][: spec.nope_dim], part))
            weights = softmax([factor * float(full @ keys[s][head]) for s in range(at + 1)])
            heads.append(sum(weight * values[s][head] for s, weight in enumerate(weights)))
        outs.append(ours.o @ torch.cat(heads))
    return torch.stack(outs)


def test_latent_attention():
    """Expanded in prefill and absorbed in decode, and each of them in both."""
    x = inputs(2, TOKENS)
    for name, fields in MLA.items():
        ours = mla(**fields)
        assert_by_hand(ours, latent_by_hand, name)
        expected = at_once(ours, x, absorbed=False)
        for pieces in PIECES:
            for absorbed in (True, False):
                mixed = in_pieces(ours, x, pieces, absorbed=absorbed, query_block=4)
                assert difference(mixed, expected) < CLOSE, (name, pieces, absorbed)


def test_latent_attention_under_yarn():
    """The temperature of all channels is squared in the softmax scale; cosines have the quotient of both."""
    slow, fast = (mla(rope=Rope(theta=40.0, interleaved=True, scaling=s)) for s in (YARN, None))
    whole = 0.1 * 0.6 * math.log(8) + 1
    assert slow.query_scale == pytest.approx(fast.query_scale * whole**2, rel=1e-12)
    x = inputs(2, TOKENS)
    for pieces in PIECES:
        assert difference(in_pieces(slow, x, pieces), at_once(slow, x)) < CLOSE


def chosen_by_hand(ours, x_TD) -> list[set[int]]:
    """DeepSeek-V3.2: for each token the best keys by the sum over heads of weight * relu(q . k)."""
    indexer, spec, kept, keys = ours.indexer, ours.spec.indexer, [], []
    rope = ours.spec.rope.model_copy(update={"interleaved": spec.interleaved})
    for at, x_D in enumerate(x_TD):
        key = indexer.k @ x_D
        key = (key - key.mean()) / math.sqrt(float(key.var(correction=0)) + 1e-6)
        keys.append(turned_first(key * indexer.k_norm[0] + indexer.k_norm[1], at, rope, 6))
        low = normed(ours.q_a @ x_D, ours.q_a_norm, Norm(eps=ours.spec.eps))
        queries = [turned_first(head, at, rope, 6) for head in (indexer.q @ low).view(spec.heads, -1)]
        weights = indexer.weights @ x_D
        scores = [
            sum(float(w) * max(float(q @ k), 0.0) for w, q in zip(weights, queries, strict=True))
            for k in keys
        ]
        kept.append(set(sorted(range(at + 1), key=lambda s: -scores[s])[: spec.top_k]))
    return kept


def turned_first(x_d, position: int, rope: Rope, dim: int):
    return torch.cat((turned(x_d[:dim], position, rope), x_d[dim:]))


def test_what_an_indexer_chooses():
    """The choice itself, and that nothing else is attended to: other tokens may change as they like."""
    for interleaved in (True, False):
        indexer = {"heads": 9, "head_dim": 10, "top_k": 3, "interleaved": interleaved}
        ours, x = mla(indexer=Indexer(**indexer)), inputs(2, TOKENS)
        ours.indexer.k_norm[0].add_(1.0)
        call = call_of(x, query_block=4)
        low = rms(x @ ours.q_a.T, ours.q_a_norm, ours.spec.eps)
        choice = ours.indexer(x, low, None, call)
        assert [each if each is None else each.shape[1:] for each in choice] == [(4, 3), (4, 3), (1, 3)]
        by_hand = [chosen_by_hand(ours, x_TD) for x_TD in x]
        found = torch.cat(choice, 1).tolist()
        for sequence, each in enumerate(by_hand):
            for at, expected in enumerate(each):
                seen = {place for place in found[sequence][at] if place <= at}
                assert seen == expected, (interleaved, sequence, at)
        mixed = at_once(ours, x)
        for at in (5, 8):
            alone = [[place for place in range(at + 1) if place in each[at]] for each in by_hand]
            values = latent_of(ours, x, at, alone)
            assert difference(mixed[:, at], values) < CLOSE
        for pieces in PIECES:
            assert difference(in_pieces(ours, x, pieces, query_block=3), mixed) < CLOSE


def latent_of(ours, x, at: int, places: list[list[int]]):
    """What the token at `at` gets where it sees `places` alone."""
    spec, outs = ours.spec, []
    up = ours.kv_b.view(spec.heads, spec.nope_dim + spec.v_dim, spec.kv_rank)
    for x_TD, seen in zip(x, places, strict=True):
        low = normed(ours.q_a @ x_TD[at], ours.q_a_norm, Norm(eps=spec.eps))
        query, keys = (ours.q_b @ low).view(spec.heads, -1), []
        for s in seen:
            both = ours.kv_a @ x_TD[s]
            latent = normed(both[: spec.kv_rank], ours.kv_a_norm, Norm(eps=spec.eps))
            keys.append((latent, turned(both[spec.kv_rank :], s, spec.rope)))
        heads = []
        for head in range(spec.heads):
            part = turned(query[head][spec.nope_dim :], at, spec.rope)
            plain = query[head][: spec.nope_dim]
            scores = [float(plain @ (up[head] @ k)[: spec.nope_dim] + part @ t) for k, t in keys]
            weights = softmax([score * (spec.nope_dim + spec.rope_dim) ** -0.5 for score in scores])
            heads.append(
                sum(w * (up[head] @ k)[spec.nope_dim :] for w, (k, _) in zip(weights, keys, strict=True))
            )
        outs.append(ours.o @ torch.cat(heads))
    return torch.stack(outs)


# Compressed attention.


def test_compressed_entries_in_pieces():
    """What waits for an entry, and the entry before it, are there when it is complete."""
    sizes = {"heads": 4, "head_dim": 6, "q_rank": 5, "o_groups": 2, "o_rank": 3, "window": 3, "sinks": True}
    x = inputs(2, 14)
    for ratio in (2, 3):
        for overlap in (False, True):
            spec = CompressedAttention(kind="compressed", ratio=ratio, overlap=overlap, **sizes)
            ours = made(Compressed(spec, HIDDEN, PLAIN))
            expected = at_once(ours, x)
            for pieces in ([14], [1] * 14, [5, 1, 1, 4, 3], [1, 7, 1, 5]):
                mixed = in_pieces(ours, x, pieces, query_block=4)
                assert difference(mixed, expected) < CLOSE, (ratio, overlap, pieces)


# Frequencies that are stretched.


def stretched_by_hand(rope: Rope, width: int) -> list[float]:
    """YaRN: arXiv 2309.00071, section 3.2. Llama 3: by wavelengths, as its release says."""
    scaling, found = rope.scaling, []
    for pair in range(width // 2):
        plain = rope.theta ** (-2 * pair / width)
        if scaling.kind == "llama3":
            turns = scaling.original_context * plain / (2 * math.pi)
            kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        else:
            edges = [
                width
                * math.log(scaling.original_context / (2 * math.pi * turns))
                / (2 * math.log(rope.theta))
                for turns in (scaling.beta_fast, scaling.beta_slow)
            ]
            low, high = max(math.floor(edges[0]), 0), min(math.ceil(edges[1]), width - 1)
            kept = 1 - (pair - low) / (high - low)
        kept = min(max(kept, 0.0), 1.0)
        found.append(plain * kept + plain / scaling.factor * (1 - kept))
    return found


def test_stretched_frequencies():
    context = {"original_context": 1024}
    scalings = {
        "yarn": (Yarn(kind="yarn", factor=16.0, **context), 0.1 * math.log(16) + 1),
        "shrunk": (Yarn(kind="yarn", factor=0.5, **context), 1.0),
        "given": (Yarn(kind="yarn", factor=16.0, attention_factor=1.3, **context), 1.3),
        "llama3": (Llama3(kind="llama3", factor=8.0, low_freq_factor=2.0, **context), 1.0),
    }
    for name, (scaling, factor) in scalings.items():
        rope = Rope(theta=10_000.0, scaling=scaling)
        frequencies, found = inverse_frequencies(rope, 32)
        by_hand = stretched_by_hand(rope, 32)
        assert frequencies.tolist() == pytest.approx(by_hand, rel=1e-5), name
        assert found == pytest.approx(factor), name
        cos_TR, sin_TR = tables(rope, 32, torch.tensor([0, 3]), torch.float32)
        assert cos_TR[1].tolist() == pytest.approx([factor * math.cos(3 * f) for f in by_hand], abs=1e-4)
        assert sin_TR[1].tolist() == pytest.approx([factor * math.sin(3 * f) for f in by_hand], abs=1e-4)
