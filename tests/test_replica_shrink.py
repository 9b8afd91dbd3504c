"""Shrunk models keep their structure, hold together, and are as small as they say."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import combinations
from math import gcd, isqrt
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import on_models, specs

from moe_plan.api import model
from moe_plan.replica import shrink as room
from moe_plan.replica.shrink import LADDER, Shrunk, default_scale, largest_scale, shrink
from moe_plan.replica.shrink_layers import kept_layers
from moe_plan.replica.unfold import layers_of
from moe_plan.spec import catalogue
from moe_plan.spec.attention import (
    AnyAttention,
    Attention,
    CompressedAttention,
    GatedDelta,
    Indexer,
    Mamba2,
    MlaAttention,
)
from moe_plan.spec.ffn import AnyFfn, DenseFfn, MoeFfn, Router
from moe_plan.spec.fields import Frozen
from moe_plan.spec.load import parse_spec
from moe_plan.spec.model import ModelSpec, Part, Published, Run, Tensor
from moe_plan.spec.rope import Rope, Temperature
from moe_plan.spec.stacks import stacks

TOKENS = 24
NAMES = catalogue.names()
ORIGINAL = {name: catalogue.validated(catalogue.find(name)) for name in NAMES}

# Everything that a shrunk block may have otherwise; a field that is not here is carried over.
SCALED = {
    *("heads", "kv_heads", "key_heads", "value_heads", "groups", "o_groups", "indexer.heads"),
    *("head_dim", "value_dim", "key_dim", "nope_dim", "rope_dim", "v_dim", "rope.dim", "indexer.head_dim"),
    *("q_rank", "kv_rank", "o_rank", "dt_rank", "inner", "state", "width", "shared_width", "latent"),
    *("window", "chunk", "ratio", "indexer.top_k", "temperature.span", "position_distance"),
}
ODD_TOO = {"experts", "zero_experts"}


def fp32_bytes(spec: ModelSpec) -> int:
    return 4 * model(spec).total_params


DEFAULT = {name: shrink(spec, default_scale(spec, fp32_bytes)) for name, spec in ORIGINAL.items()}
ODD = {name: shrink(spec, Fraction(1, 64), odd=True) for name, spec in ORIGINAL.items()}


def blocks(spec: ModelSpec) -> dict[tuple, object]:
    """Attention and FFN blocks by stack, slot and name."""
    return {
        (stack.path, slot, name): block
        for stack in stacks(spec)
        for slot in ("attention", "ffn")
        for name, block in getattr(stack.part, slot).items()
    }


def kinds(layers: tuple[Run, ...]) -> list[Run]:
    """What distinguishes layers, tensors by name alone, in the order in which they first occur."""
    found = []
    for run in layers_of(layers):
        names = tuple(Tensor(name=tensor.name, shape=(1,)) for tensor in run.tensors)
        kind = run.model_copy(update={"repeat": 1, "tensors": names})
        if kind not in found:
            found.append(kind)
    return found


def differing(old: Frozen, new: Frozen, start: str = "") -> set[str]:
    assert type(old) is type(new)
    found = set()
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Frozen):
            found |= differing(before, after, f"{start}{name}.")
        elif before != after:
            found.add(f"{start}{name}")
    return found


def assert_same_structure(old: ModelSpec, new: ModelSpec, allowed: set[str]) -> None:
    """The text model of `old`, block by block and layer by layer, in `new`."""
    text = shrink(old, 1).spec
    before, after = blocks(text), blocks(new)
    assert list(before) == list(after)
    for key, block in before.items():
        assert differing(block, after[key]) <= allowed, key
    for one, other in zip(stacks(text), stacks(new), strict=True):
        assert one.path == other.path
        assert kinds(one.part.layers) == kinds(other.part.layers)
        assert all(not run.pattern for run in other.part.layers)
    carried = set(ModelSpec.model_fields) - {
        *("hidden", "vocab", "context", "attention", "ffn", "layers", "tensors", "parts", "published"),
    }
    assert all(getattr(text, name) == getattr(new, name) for name in carried)
    for name, part in text.parts.items():
        carried = set(Part.model_fields) - {"hidden", "attention", "ffn", "layers", "tensors"}
        assert all(getattr(part, field) == getattr(new.parts[name], field) for field in carried)


@pytest.mark.parametrize("name", NAMES)
class TestCatalogue:
    def test_scale_1_is_the_text_model(self, name):
        whole = shrink(ORIGINAL[name], 1)
        assert whole.scale == 1
        assert model(whole.spec).total_params == model(ORIGINAL[name]).total_params
        assert model(whole.spec).active_params == model(ORIGINAL[name]).active_params
        assert model(whole.spec).components == model(ORIGINAL[name]).components
        assert model(whole.spec).kv_bytes(5000) == model(ORIGINAL[name]).kv_bytes(5000)
        assert model(whole.spec).parts == {}
        assert whole.spec.layers == ORIGINAL[name].layers

    def test_structure_is_kept(self, name):
        assert_same_structure(ORIGINAL[name], DEFAULT[name].spec, SCALED)
        assert_same_structure(ORIGINAL[name], ODD[name].spec, SCALED | ODD_TOO)

    def test_as_many_layers_as_kinds(self, name):
        for shrunk in (DEFAULT[name], ODD[name]):
            for stack in stacks(shrunk.spec):
                assert len(layers_of(stack.part.layers)) == len(kinds(stack.part.layers))

    def test_default_is_small(self, name):
        counted = model(DEFAULT[name].spec).total_params
        assert counted * 4 <= 32 << 20
        assert counted * 200 < model(ORIGINAL[name]).total_params or name in (
            "switch-base-8",
            "granite-3.0-1b-a400m",
        )
        assert counted * 100 < model(ORIGINAL[name]).total_params

    def test_a_step_up_would_not_fit(self, name):
        larger = LADDER[LADDER.index(DEFAULT[name].scale) - 1]
        assert fp32_bytes(shrink(ORIGINAL[name], larger).spec) > 32 << 20

    def test_a_written_shrunk_spec_loads_again(self, name):
        for shrunk in (DEFAULT[name], ODD[name]):
            text = shrunk.spec.model_dump_json(exclude_defaults=False, exclude_none=True)
            loaded = parse_spec(text.encode(), "shrunk.yaml")
            assert model(loaded).total_params == model(shrunk.spec).total_params

    def test_experts_are_all_there(self, name):
        for key, block in blocks(shrink(ORIGINAL[name], 1).spec).items():
            if isinstance(block, MoeFfn):
                kept, odd = blocks(DEFAULT[name].spec)[key], blocks(ODD[name].spec)[key]
                assert (kept.experts, kept.top_k, kept.router) == (block.experts, block.top_k, block.router)
                assert (odd.top_k, odd.router) == (block.top_k, block.router)
                each = odd.experts // (odd.router.groups or 1)
                assert each % 2 == 1
                assert abs(odd.experts - block.experts) <= (odd.router.groups or 1)

    def test_heads_divide_and_keep_their_ratio(self, name):
        for shrunk in (DEFAULT[name], ODD[name]):
            for key, block in blocks(shrink(ORIGINAL[name], 1).spec).items():
                small = blocks(shrunk.spec)[key]
                if isinstance(block, Attention):
                    assert small.heads * block.kv_heads == small.kv_heads * block.heads or block.kv_heads == 1
                    assert small.kv_heads >= min(2, block.kv_heads)
                    assert small.heads >= 2
                    assert small.head_dim % 2 == 0
                    assert small.head_dim >= 8

    def test_heads_stay_as_many_times_as_wide_as_the_stream(self, name):
        """Several releases derive one from the other (DBRX, Granite 4)."""
        text = shrink(ORIGINAL[name], 1).spec
        for scale in LADDER[1:10]:
            small = shrink(ORIGINAL[name], scale).spec
            for key, block in text.attention.items():
                if block.kind in ("gqa", "moa", "mamba2") and block.heads * block.head_dim % text.hidden == 0:
                    ratio = block.heads * block.head_dim // text.hidden
                    other = small.attention[key]
                    assert other.heads * other.head_dim == ratio * small.hidden, scale

    def test_partial_rotation_turns_two_pairs_or_more(self, name):
        for shrunk in (DEFAULT[name], ODD[name]):
            for block in blocks(shrunk.spec).values():
                rope = getattr(block, "rope", None)
                if rope is not None:
                    width = block.rope_dim if isinstance(block, MlaAttention) else block.head_dim
                    assert 4 <= (rope.dim or width) <= width
                    assert (rope.dim or width) % 2 == 0

    def test_lengths_are_felt(self, name):
        for shrunk in (DEFAULT[name], ODD[name]):
            assert shrunk.spec.context is None or shrunk.spec.context >= TOKENS + 8
            for block in blocks(shrunk.spec).values():
                for length in (getattr(block, "window", None), getattr(block, "chunk", None)):
                    assert length is None or 2 <= length <= TOKENS // 3
                indexer, ratio = getattr(block, "indexer", None), getattr(block, "ratio", None)
                assert ratio is None or TOKENS // ratio >= 3
                assert indexer is None or 2 <= indexer.top_k < TOKENS // (ratio or 1)
                temperature = getattr(block, "temperature", None)
                assert temperature is None or temperature.span < TOKENS // 2

    def test_odd_sizes_are_odd_and_unequal(self, name):
        spec = ODD[name].spec
        assert spec.hidden % 2 == 1
        assert all(spec.vocab % divisor for divisor in range(2, isqrt(spec.vocab) + 1))
        for stack in stacks(spec):
            mixers = stack.part.attention.values()
            for block in mixers:
                assert_unequal(block, spec)
            for block in stack.part.ffn.values():
                assert block.width % 2 == 1
                assert_unequal(block, spec)

    def test_the_same_again(self, name):
        assert shrink(ORIGINAL[name], DEFAULT[name].scale) == DEFAULT[name]
        assert shrink(ORIGINAL[name], Fraction(1, 64), odd=True) == ODD[name]

    def test_a_locked_entry_serves_as_well(self, name):
        assert shrink(catalogue.find(name), DEFAULT[name].scale) == DEFAULT[name]

    def test_bytes_fall_with_the_scale(self, name):
        sizes = [fp32_bytes(shrink(ORIGINAL[name], scale).spec) for scale in LADDER]
        assert sizes == sorted(sizes, reverse=True)

    @pytest.mark.parametrize("tokens", [8, 64, 512])
    def test_other_prompts(self, name, tokens):
        spec = shrink(ORIGINAL[name], Fraction(1, 96), tokens=tokens).spec
        for block in blocks(spec).values():
            window = getattr(block, "window", None) or getattr(block, "chunk", None)
            assert window is None or window <= tokens // 3
            indexer = getattr(block, "indexer", None)
            assert indexer is None or indexer.top_k < tokens


def assert_unequal(block: object, spec: ModelSpec) -> None:
    """No width of the block is another one, the hidden width, the vocabulary, or a sum of two."""
    fields = (
        "head_dim",
        "value_dim",
        "key_dim",
        "nope_dim",
        "rope_dim",
        "v_dim",
        "q_rank",
        "kv_rank",
        "o_rank",
    )
    fields += ("inner", "state", "dt_rank", "width", "shared_width", "latent", "experts", "heads", "kv_heads")
    sizes = [getattr(block, field, None) for field in fields]
    if getattr(block, "heads", 0) == getattr(block, "kv_heads", 1):
        sizes[-1] = None
    sizes = [size for size in (*sizes, spec.hidden, spec.vocab) if size is not None]
    assert len(set(sizes)) == len(sizes), sizes
    widths = sizes[: -2 - ("heads" in dir(block)) - ("kv_heads" in dir(block))]
    assert not {one + other for one, other in combinations(widths, 2)} & set(sizes)


def test_catalogue_covers_every_option_that_is_scaled():
    """Otherwise the tests above would say nothing about a field."""
    seen = set()
    for name in NAMES:
        text = blocks(shrink(ORIGINAL[name], 1).spec)
        seen |= {field for key in text for field in differing(text[key], blocks(DEFAULT[name].spec)[key])}
    # No catalogue model works in a latent width; a spec below does.
    assert seen == SCALED - {"latent"}


# Counts that say what a block is, not how large.
KEPT = {
    *("experts", "zero_experts", "top_k", "conv", "taps", "position_buckets"),
    *("router.groups", "router.top_groups", "temperature.first", "rope.scaling.original_context"),
}


def counts(block_class: object, start: str = "") -> set[str]:
    """Dotted names of the whole numbers in a spec class, those of the classes inside it too."""
    if get_origin(block_class) in (Union, UnionType, Annotated):
        return {name for member in get_args(block_class) for name in counts(member, start)}
    if isinstance(block_class, type) and issubclass(block_class, Frozen):
        fields = block_class.model_fields.items()
        return {
            name for field, info in fields for name in counts(info.annotation, f"{start}.{field}".lstrip("."))
        }
    return {start} if block_class is int else set()


def test_every_count_of_a_block_is_scaled_or_kept_on_purpose():
    """A new field of the spec must be decided on here."""
    assert counts(AnyAttention) | counts(AnyFfn) == SCALED | KEPT


def a_spec(**fields: object) -> ModelSpec:
    given = {
        "name": "a",
        "source": "a test",
        "published": Published(source="a test", total="1B"),
        "hidden": 1024,
        "vocab": 32000,
        "context": 4096,
        "attention": {"own": gqa()},
        "ffn": {"dense": DenseFfn(kind="dense", width=4096)},
        "layers": (Run(repeat=4, attention="own", ffn="dense"),),
    }
    return ModelSpec(**(given | fields))


def gqa(**fields: object) -> Attention:
    return Attention(**({"kind": "gqa", "heads": 16, "kv_heads": 4, "head_dim": 64} | fields))


def moe(**fields: object) -> MoeFfn:
    return MoeFfn(**({"kind": "moe", "experts": 8, "top_k": 2, "width": 512} | fields))


class TestWidths:
    def test_linear_in_the_scale(self):
        spec = a_spec(attention={"own": gqa(heads=32, kv_heads=8, head_dim=128, value_dim=256, q_rank=512)})
        small = shrink(spec, Fraction(1, 4)).spec
        assert (small.hidden, small.vocab, small.context) == (256, 8000, 1024)
        block = small.attention["own"]
        # Half of the heads, each half as wide: together a quarter.
        assert (block.heads, block.kv_heads, block.head_dim) == (16, 4, 64)
        assert (block.value_dim, block.q_rank) == (128, 128)
        assert small.ffn["dense"].width == 1024

    def test_heads_as_wide_as_the_stream_stay_so(self):
        for scale in LADDER[1:]:
            block = (small := shrink(a_spec(), scale).spec).attention["own"]
            if small.hidden > 64:
                assert block.heads * block.head_dim == small.hidden
            assert small.ffn["dense"].width == 4 * small.hidden

    def test_mamba_keeps_its_expansion(self):
        mamba = Mamba2(kind="mamba2", heads=32, head_dim=64, state=128, groups=1, conv=4)
        spec = a_spec(attention={"own": mamba})
        for scale in LADDER[1:8]:
            block = (small := shrink(spec, scale).spec).attention["own"]
            assert block.heads * block.head_dim == 2 * small.hidden
            assert (block.groups, block.conv) == (1, 4)

    def test_shared_experts_are_whole_experts(self):
        small = shrink(a_spec(ffn={"dense": moe(width=768, shared_width=2304)}), 0.1).spec
        assert small.ffn["dense"].shared_width == 3 * small.ffn["dense"].width

    def test_nothing_grows(self):
        tiny = a_spec(
            hidden=12, vocab=20, context=None, attention={"own": gqa(heads=2, kv_heads=1, head_dim=6)}
        )
        small = shrink(tiny, Fraction(1, 1000)).spec
        assert (small.hidden, small.vocab, small.context) == (12, 20, None)
        assert small.attention["own"] == tiny.attention["own"]

    def test_an_odd_head_becomes_even(self):
        small = shrink(a_spec(attention={"own": gqa(head_dim=7)}), 0.5).spec
        assert small.attention["own"].head_dim == 8

    def test_a_latent_shrinks(self):
        assert shrink(a_spec(ffn={"dense": moe(latent=512)}), 0.25).spec.ffn["dense"].latent == 128

    def test_an_indexer_is_as_wide_as_what_turns(self):
        indexer = Indexer(heads=2, head_dim=64, top_k=2048)
        mla = MlaAttention(
            kind="mla", heads=256, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128, indexer=indexer
        )
        for odd in (False, True):
            block = shrink(a_spec(attention={"own": mla}), Fraction(1, 16), odd=odd).spec.attention["own"]
            assert block.indexer.head_dim >= block.rope_dim

    def test_output_groups_divide(self):
        block = CompressedAttention(
            kind="compressed", heads=7, head_dim=64, q_rank=64, o_groups=4, o_rank=64, window=128
        )
        for scale in LADDER[1:]:
            for odd in (False, True):
                small = shrink(a_spec(attention={"own": block}), scale, odd=odd).spec.attention["own"]
                assert small.heads * small.head_dim % small.o_groups == 0

    @pytest.mark.parametrize("heads", [(6, 1, 2), (64, 1, 2), (1, 1, 1), (35, 7, 2), (15, 5, 2), (9, 3, 2)])
    def test_odd_head_counts(self, heads):
        many, few, least = heads
        small = shrink(a_spec(attention={"own": gqa(heads=many, kv_heads=few)}), Fraction(1, 100)).spec
        block = small.attention["own"]
        assert block.heads % block.kv_heads == 0
        assert block.heads >= least

    def test_blocks_that_agree_keep_agreeing(self):
        """Query heads of a layer that reuses keys must fit the heads of the one that made them."""
        spec = a_spec(
            attention={
                "own": gqa(heads=48, kv_heads=12),
                "again": gqa(heads=24, kv_heads=12, shared_kv=True),
            },
            layers=(Run(attention="own"), Run(attention="again")),
        )
        for odd in (False, True):
            own, again = shrink(spec, Fraction(1, 20), odd=odd).spec.attention.values()
            assert (own.kv_heads, own.head_dim) == (again.kv_heads, again.head_dim)

    def test_families_of_heads_differ_where_sizes_are_odd(self):
        delta = GatedDelta(kind="gated-delta", key_heads=4, value_heads=8, key_dim=64, value_dim=64, conv=4)
        mamba = Mamba2(kind="mamba2", heads=8, head_dim=64, state=64, groups=4, conv=4)
        spec = a_spec(
            attention={"own": gqa(kv_heads=2), "delta": delta, "mamba": mamba},
            layers=(Run(attention=("own", "delta", "mamba")),),
        )
        found = shrink(spec, Fraction(1, 50), odd=True).spec.attention
        assert (found["own"].kv_heads, found["delta"].key_heads, found["mamba"].groups) == (3, 5, 7)

    def test_odd_widths_differ_from_the_number_of_experts(self):
        spec = a_spec(ffn={"dense": moe(experts=18, width=1700)})
        small = shrink(spec, Fraction(1, 100), odd=True).spec
        assert small.ffn["dense"].experts == 17
        assert 17 not in (small.ffn["dense"].width, small.hidden)
        assert small.ffn["dense"].width < 25

    def test_extra_tensors_follow(self):
        tensors = (
            Tensor(name="scalar", shape=(1,)),
            Tensor(name="joint", shape=(1024, 2048)),
            Tensor(name="table", shape=(32000, 1024), use="lookup"),
            Tensor(name="buckets", shape=(12, 500)),
            Tensor(name="fused", shape=(3072,)),
        )
        spec = a_spec(tensors=tensors, layers=(Run(attention="own", ffn="dense", tensors=tensors[:2]),))
        small = shrink(spec, Fraction(1, 8)).spec
        shapes = [tensor.shape for tensor in small.tensors]
        assert shapes == [(1,), (128, 256), (4000, 128), (12, 62), (384,)]
        assert [tensor.shape for tensor in small.layers[0].tensors] == shapes[:2]
        least = shrink(spec, Fraction(1, 100)).spec
        assert least.tensors[-1].shape == (3 * least.hidden,)

    def test_an_encoder_has_its_own_width(self):
        encoder = Part(
            role="encoder",
            hidden=512,
            attention={"own": gqa(causal=False, heads=8, kv_heads=8)},
            layers=(Run(repeat=3, attention="own", ffn="dense"),),
            tensors=(Tensor(name="table", shape=(512, 1024)),),
        )
        cross = {"own": gqa(), "cross": gqa(cross=True)}
        layers = (Run(repeat=2, attention=("own", "cross"), ffn="dense"),)
        small = shrink(a_spec(parts={"reader": encoder}, attention=cross, layers=layers), Fraction(1, 8))
        part = small.spec.parts["reader"]
        assert (small.spec.hidden, part.hidden) == (128, 64)
        assert part.tensors[0].shape == (64, 128)
        assert small.kept[:2] == (
            "decoder: 1 of 2 layers: one of each kind",
            "reader: 1 of 3 layers: one of each kind",
        )


class TestLengths:
    def lengths(self, tokens: int = TOKENS, **found: Attention | CompressedAttention) -> list[ModelSpec]:
        layers = tuple(Run(attention=name) for name in found)
        return list(
            shrink(a_spec(attention=found, layers=layers), 0.5, tokens=tokens).spec.attention.values()
        )

    def test_different_windows_stay_different_and_in_order(self):
        found = self.lengths(a=gqa(window=512), b=gqa(window=4096), c=gqa(window=3), d=gqa(chunk=8192))
        assert [block.window or block.chunk for block in found] == [5, 6, 3, 7]

    def test_a_short_window_stays(self):
        assert self.lengths(a=gqa(window=2))[0].window == 2
        assert self.lengths(tokens=512, a=gqa(window=128))[0].window == 128

    def compressed(self, ratio: int | None, **more: object) -> CompressedAttention:
        sizes = {"heads": 8, "head_dim": 64, "q_rank": 64, "o_groups": 2, "o_rank": 64, "window": 128}
        return CompressedAttention(kind="compressed", ratio=ratio, **sizes, **more)

    def test_ratios_stay_different_and_in_order(self):
        found = self.lengths(
            a=self.compressed(128), b=self.compressed(4), c=self.compressed(512), d=self.compressed(None)
        )
        assert [block.ratio for block in found] == [6, 4, 7, None]

    def test_an_indexer_chooses_among_fewer_entries_than_there_are(self):
        indexer = Indexer(heads=4, head_dim=64, top_k=512)
        (found,) = self.lengths(a=self.compressed(4, indexer=indexer))
        assert found.indexer.top_k == 3 < TOKENS // found.ratio

    def test_queries_grow_within_the_run(self):
        (found,) = self.lengths(a=gqa(temperature=Temperature(beta=0.1, span=8192, first=1)))
        assert found.temperature == Temperature(beta=0.1, span=6, first=1)

    def test_far_positions_share_a_bucket_within_the_run(self):
        far = {"position_distance": 128}
        found = self.lengths(a=gqa(position_buckets=32, **far), b=gqa(shared_positions=True, **far))
        assert [block.position_distance for block in found] == [17, 17]
        assert [block.position_buckets for block in found] == [32, None]
        assert self.lengths(a=gqa(**far))[0].position_distance == 128


class TestRope:
    def test_the_same_share_of_the_head_turns(self):
        rope = Rope(theta=5e6, dim=64, proportional=True)
        block = gqa(head_dim=256, rope=rope)
        found = shrink(a_spec(hidden=2048, attention={"own": block}), Fraction(1, 4)).spec.attention["own"]
        assert (found.head_dim, found.rope) == (128, rope.model_copy(update={"dim": 32}))

    def test_two_pairs_at_least(self):
        block = gqa(head_dim=256, rope=Rope(dim=64))
        found = shrink(a_spec(attention={"own": block}), Fraction(1, 1000)).spec.attention["own"]
        assert (found.head_dim, found.rope.dim) == (16, 4)


class TestExperts:
    def small(self, block: MoeFfn, scale: Fraction = Fraction(1, 1000), **more: bool) -> MoeFfn:
        return shrink(a_spec(ffn={"dense": block}), scale, **more).spec.ffn["dense"]

    def test_kept_where_they_are_affordable(self):
        block = self.small(moe(experts=512, top_k=10, zero_experts=3))
        assert (block.experts, block.top_k, block.zero_experts) == (512, 10, 3)

    def test_otherwise_their_ratio_is(self):
        # 2^14 experts of 3 x 64 x 16 weights are 50 million; 1,302 of them are 4 million.
        block = self.small(moe(experts=1 << 14, top_k=64, zero_experts=1 << 10))
        assert (block.experts, block.top_k, block.zero_experts) == (5 << 8, 5, 5 << 4)

    def test_two_are_chosen_where_more_were(self):
        block = self.small(moe(experts=1 << 20, top_k=8))
        assert (block.experts, block.top_k) == (1 << 18, 2)

    def test_groups_still_divide(self):
        router = Router(groups=8, top_groups=4)
        block = self.small(moe(experts=1 << 14, top_k=64, router=router))
        assert (block.experts, block.top_k, block.router) == (5 << 8, 5, router)

    @pytest.mark.parametrize("groups", [1 << 12, 1 << 15])
    @pytest.mark.parametrize("odd", [False, True])
    def test_more_groups_than_experts_that_remain(self, groups, odd):
        router = Router(groups=groups, top_groups=groups // 2)
        block = self.small(moe(experts=1 << 16, top_k=64, router=router), odd=odd)
        assert block.experts % block.router.groups == 0
        assert block.experts >= 2 * block.router.groups
        assert block.router.top_groups <= block.router.groups

    @pytest.mark.parametrize(
        ("experts", "top_k", "groups", "odd_experts"),
        [(8, 2, None, 7), (9, 2, None, 9), (2, 2, None, 3), (1, 1, None, 1), (16, 2, 4, 12), (8, 4, 4, 12)],
    )
    def test_odd_numbers_of_them(self, experts, top_k, groups, odd_experts):
        router = Router(groups=groups, top_groups=None if groups is None else 2)
        assert self.small(moe(experts=experts, top_k=top_k, router=router), odd=True).experts == odd_experts

    @pytest.mark.parametrize(("zero", "top_k", "odd_zero"), [(8, 3, 7), (8, 15, 9), (9, 3, 9), (0, 3, 0)])
    def test_odd_numbers_of_zero_experts(self, zero, top_k, odd_zero):
        block = self.small(moe(experts=7, top_k=top_k, zero_experts=zero), odd=True)
        assert (block.experts, block.zero_experts) == (7, odd_zero)


class TestLayers:
    a, b, c = (Run(attention=name) for name in "abc")

    def kept(self, layers, at_least=None, **found):
        given = {name: found.get(name, gqa()) for name in "abc"}
        kept = kept_layers(tuple(layers), given, at_least)
        assert kept.after == len(layers_of(kept.runs))
        return [run.attention for run in layers_of(kept.runs)]

    def test_first_of_each_kind_in_the_model_s_order(self):
        pattern = Run(repeat=3, pattern=(self.b, self.a.model_copy(update={"repeat": 2}), self.c))
        assert self.kept([self.a, pattern]) == ["a", "b", "c"]

    def test_everything_that_tells_layers_apart(self):
        layers = [
            self.a,
            Run(attention="a", norms=2),
            Run(attention="a", flow="sandwich"),
            Run(attention="a", tensors=(Tensor(name="t", shape=(1,)),)),
            Run(attention=("a",)),
            self.a,
        ]
        assert len(self.kept(layers)) == 5

    def test_more_layers_on_demand(self):
        layers = [self.a, self.a, self.b, self.a, self.c, self.c]
        assert self.kept(layers, at_least=2) == ["a", "b", "c"]
        assert self.kept(layers, at_least=4) == ["a", "a", "b", "c"]
        assert self.kept(layers, at_least=99) == ["a", "a", "b", "a", "c", "c"]

    def test_one_run_where_layers_are_equal(self):
        assert [
            run.repeat for run in kept_layers((self.a, self.a, self.b), {"a": gqa(), "b": gqa()}, 3).runs
        ] == [2, 1]

    def test_a_layer_that_reuses_keys_finds_those_of_the_same_kind(self):
        shared = {"c": gqa(shared_kv=True)}
        assert self.kept([self.a, self.b, self.c], **shared) == ["a", "b", "c"]
        # The keys that c reuses are a's, and b stands between the kept ones.
        assert self.kept([self.a, self.b, self.a, self.c], **shared) == ["a", "b", "a", "c"]
        assert self.kept([self.a, self.c, self.b, self.c], **shared) == ["a", "c", "b"]

    def test_an_indexer_s_choice_and_a_table_of_positions_are_found_too(self):
        sizes = {"kind": "mla", "heads": 4, "kv_rank": 64, "nope_dim": 16, "rope_dim": 16, "v_dim": 16}
        own = MlaAttention(**sizes, indexer=Indexer(heads=2, head_dim=16, top_k=9))
        shared = own.model_copy(update={"indexer": own.indexer.model_copy(update={"shared": True})})
        assert self.kept([self.a, self.b, self.a, self.c], a=own, b=own, c=shared) == ["a", "b", "a", "c"]
        table, reader = gqa(position_buckets=8), gqa(shared_positions=True)
        assert self.kept([self.a, self.b, self.a, self.c], a=table, b=table, c=reader) == ["a", "b", "a", "c"]

    def test_a_layer_with_both_needs_no_other(self):
        both = Run(attention=("a", "c"))
        assert self.kept([both, self.b, both], c=gqa(shared_kv=True)) == [("a", "c"), "b"]

    def test_a_hundred_thousand_layers_take_no_time(self):
        deep = Run(repeat=100, pattern=(Run(repeat=500, pattern=(self.a, self.b)),))
        assert self.kept([deep]) == ["a", "b"]

    def test_keep_layers_works_at_full_width_too(self):
        shrunk = shrink(a_spec(), 1, keep_layers=2)
        assert shrunk.spec.hidden == 1024
        assert len(layers_of(shrunk.spec.layers)) == 2
        assert shrunk.spec.published == Published(source="a test")
        assert shrunk.kept == ("2 of 4 layers: every kind among them",)


class TestTextModel:
    def test_what_is_left_out(self):
        mtp = Part(
            role="mtp", layers=(Run(attention="spare"),), tensors=(Tensor(name="joint", shape=(1024, 2048)),)
        )
        tower = Part(role="vision", hidden=64, tensors=(Tensor(name="patch", shape=(64, 3)),))
        blocks_given = {"own": gqa(), "spare": gqa(heads=8)}
        shrunk = shrink(a_spec(parts={"mtp": mtp, "tower": tower}, attention=blocks_given), 0.5)
        assert shrunk.spec.parts == {}
        assert list(shrunk.spec.attention) == ["own"]
        assert "left out: mtp, tower" in shrunk.kept

    def test_an_encoder_s_own_block_hides_the_model_s(self):
        encoder = Part(role="encoder", attention={"own": gqa(causal=False)}, layers=(Run(attention="own"),))
        shrunk = shrink(a_spec(parts={"reader": encoder}, layers=(Run(ffn="dense"),)), 0.5)
        assert shrunk.spec.attention == {}
        assert list(shrunk.spec.parts["reader"].attention) == ["own"]

    def test_formats_of_the_release_are_left_out(self):
        spec = ORIGINAL["deepseek-v4-flash"]
        assert spec.native.rules
        assert DEFAULT["deepseek-v4-flash"].spec.native.rules == ()
        assert shrink(ORIGINAL["qwen3-235b-a22b"], 1).spec.checkpoints == {}


class TestToldInWords:
    def test_deepseek(self):
        assert shrink(ORIGINAL["deepseek-v3"], Fraction(1, 32)).kept == (
            "2 of 61 layers: one of each kind",
            "left out: mtp",
            "hidden 7168 -> 224, vocab 129280 -> 4040, context 163840 -> 5120",
            "mla: heads 128 -> 16, q_rank 1536 -> 48, kv_rank 512 -> 16, nope_dim 128 -> 32, rope_dim 64 -> 16, v_dim 128 -> 32",
            "dense: width 18432 -> 576",
            "experts: width 2048 -> 64, shared_width 2048 -> 64",
            "experts: all 256 experts kept, 8 for each token",
        )

    def test_the_model_itself(self):
        assert shrink(ORIGINAL["mixtral-8x7b"], 1).kept == ("experts: all 8 experts kept, 2 for each token",)

    def test_all_layers(self):
        assert shrink(a_spec(layers=(Run(ffn="dense"),)), 0.5).kept[0] == "all 1 layers"


class TestBounds:
    @pytest.mark.parametrize("scale", [0, -1, 1.01, float("nan"), float("inf"), Fraction(3, 2)])
    def test_scales(self, scale):
        with pytest.raises(ValueError, match="scale must be above 0 and at most 1"):
            shrink(a_spec(), scale)

    def test_other_arguments(self):
        with pytest.raises(ValueError, match="tokens must be at least 8, not 7"):
            shrink(a_spec(), 0.5, tokens=7)
        with pytest.raises(ValueError, match="keep_layers must be at least 1, not 0"):
            shrink(a_spec(), 0.5, keep_layers=0)
        with pytest.raises(ValueError, match="odd sizes need a scale below 1"):
            shrink(a_spec(), 1, odd=True)

    def test_a_float_is_the_fraction_nearby(self):
        assert shrink(a_spec(), 0.1).scale == Fraction(1, 10)
        assert shrink(a_spec(), 1e-300).scale == Fraction(1, 10**9)

    def test_a_shrunk_spec_that_breaks_a_rule_is_our_bug(self, monkeypatch):
        monkeypatch.setattr(room, "resized", lambda spec, *_, **__: spec.model_copy(update={"hidden": 0}))
        with pytest.raises(
            RuntimeError, match=r"(?s)shrinking a made a spec that does not hold together: .*hidden"
        ):
            shrink(a_spec(), 0.5)


class TestLargestScale:
    def test_the_largest_step_that_fits(self):
        spec = ORIGINAL["mixtral-8x7b"]
        for scale in (LADDER[1], LADDER[5], LADDER[10]):
            exactly = fp32_bytes(shrink(spec, scale).spec)
            assert largest_scale(spec, exactly, fp32_bytes) == scale
        assert largest_scale(spec, fp32_bytes(shrink(spec, LADDER[-1]).spec) - 1, fp32_bytes) is None

    def test_the_model_itself(self):
        spec = ORIGINAL["granite-3.0-1b-a400m"]
        exactly = fp32_bytes(spec)
        assert largest_scale(spec, exactly, fp32_bytes) == 1
        assert largest_scale(spec, exactly - 1, fp32_bytes) == Fraction(1, 2)

    def test_few_questions_and_none_about_the_whole_model(self):
        asked = []

        def bytes_of(spec: ModelSpec) -> int:
            asked.append(spec)
            return fp32_bytes(spec)

        largest_scale(ORIGINAL["deepseek-v3"], 1 << 30, bytes_of)
        assert len(asked) <= 5
        assert all(len(layers_of(spec.layers)) == 2 for spec in asked)

    def test_a_quick_bound_leaves_few_questions(self):
        asked = []

        def with_activations(spec: ModelSpec) -> int:
            asked.append(spec)
            return fp32_bytes(spec) * 3 // 2

        spec, budget = ORIGINAL["deepseek-v3"], 1 << 30
        found = largest_scale(spec, budget, with_activations, least_bytes_of=fp32_bytes)
        assert len(asked) <= 2
        assert found == largest_scale(spec, budget, with_activations)
        assert found < largest_scale(spec, budget, fp32_bytes)
        assert largest_scale(spec, 1 << 50, with_activations, least_bytes_of=fp32_bytes) == 1
        assert largest_scale(spec, 1 << 50, lambda _: 1 << 60, least_bytes_of=fp32_bytes) is None
        assert largest_scale(spec, 1, lambda _: 0, least_bytes_of=fp32_bytes) is None

    def test_the_default_is_below_1(self):
        tiny = a_spec(hidden=16, vocab=64)
        assert default_scale(tiny, fp32_bytes) == Fraction(1, 2)
        assert default_scale(tiny, lambda _: 1 << 40) == LADDER[-1]
        assert default_scale(ORIGINAL["mixtral-8x7b"], fp32_bytes, budget_bytes=1 << 20) < Fraction(1, 16)

    def test_lengths_follow_the_prompt(self):
        windows = set()
        spec = a_spec(attention={"own": gqa(window=4096)})
        largest_scale(spec, 1, lambda small: windows.add(small.attention["own"].window) or 2, tokens=90)
        assert windows == {29}


def mended(spec: ModelSpec) -> ModelSpec:
    """The random spec without what the rules refuse, as far as single fields can mend it."""
    parts = {}
    for name, part in spec.parts.items():
        own = {
            key: of_the_decoder(block, spec) if part.role == "mtp" else block
            for key, block in part.attention.items()
        }
        ffn = {key: without_groups(block) for key, block in part.ffn.items()}
        update = {"layers": bare(part.layers), "tensors": unique(part.tensors), "attention": own, "ffn": ffn}
        if part.layers or part.tensors:
            parts[name] = part.model_copy(update=update)
    update = {
        "layers": bare(spec.layers),
        "tensors": unique(spec.tensors),
        "parts": parts,
        "attention": {name: of_the_decoder(block, spec) for name, block in spec.attention.items()},
        "ffn": {name: without_groups(block) for name, block in spec.ffn.items()},
    }
    return spec.model_copy(update=update)


def bare(layers: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(run.model_copy(update={"norms": None, "pattern": bare(run.pattern)}) for run in layers)


def unique(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple({tensor.name: tensor for tensor in tensors}.values())


def of_the_decoder(block, spec: ModelSpec):
    if not isinstance(block, Attention):
        return block
    encoders = any(part.role == "encoder" for part in spec.parts.values())
    return block.model_copy(update={"cross": block.cross and encoders, "causal": True})


def without_groups(block):
    if not isinstance(block, MoeFfn) or block.router.groups is None:
        return block
    reachable = block.experts // block.router.groups * block.router.top_groups
    if reachable >= block.top_k and block.experts > block.router.groups:
        return block
    return block.model_copy(
        update={"router": block.router.model_copy(update={"groups": None, "top_groups": None})}
    )


def is_valid(spec: ModelSpec) -> bool:
    try:
        room._checked(spec)
    except RuntimeError:
        return False
    return True


scales = st.sampled_from(LADDER[1:]) | st.fractions(
    min_value=Fraction(1, 2000), max_value=Fraction(999, 1000)
)


@on_models
@given(specs(), scales, st.booleans(), st.integers(8, 40), st.none() | st.integers(1, 9))
def test_random_specs_keep_their_structure(spec, scale, odd, tokens, keep_layers):
    spec = mended(spec)
    assume(is_valid(spec))
    shrunk = shrink(spec, scale, odd=odd, tokens=tokens, keep_layers=keep_layers)
    assert isinstance(shrunk, Shrunk)
    assert_same_structure(spec, shrunk.spec, SCALED | (ODD_TOO if odd else set()))
    if not odd:
        text = shrink(spec, 1, keep_layers=keep_layers).spec
        assert model(shrunk.spec).total_params <= 2 * model(text).total_params


@on_models
@given(specs())
def test_random_specs_at_scale_1_are_their_text_model(spec):
    spec = mended(spec)
    assume(is_valid(spec))
    assert model(shrink(spec, 1).spec).total_params == model(spec).total_params


def test_most_random_specs_can_be_mended():
    """Otherwise the two tests above would look at nothing."""
    found = []

    @on_models
    @given(specs())
    def look(spec):
        found.append(is_valid(mended(spec)))

    look()
    assert sum(found) > len(found) / 2


def test_shrinking_needs_no_torch():
    code = "import sys; from moe_plan.replica import shrink, memory; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "False\n"


def test_odd_numbers_share_no_divisor_with_groups_of_eight():
    for name in NAMES:
        assert gcd(ODD[name].spec.hidden, 8) == 1
