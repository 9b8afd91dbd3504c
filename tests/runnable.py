"""Random specs that a replica can run: those of `strategies`, mended until every rule holds.

`runnable` is for counts, where no value matters. `calm` is for values: few layers and gentle factors, so that
float32 sums in another order stay close, and no choice that a rounding could flip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from hypothesis import assume
from hypothesis import strategies as st
from strategies import ATTENTION_KINDS, dense, gqa, mla, moe, specs
from strategies_attention import flags, own_indexers

from moe_plan.anatomy.build import unfolded
from moe_plan.errors import InputError
from moe_plan.spec.attention import AnyAttention, Attention, CompressedAttention, MlaAttention
from moe_plan.spec.ffn import MoeFfn
from moe_plan.spec.flows import SHAPES
from moe_plan.spec.model import ModelSpec, Part, Run, Tensor
from moe_plan.spec.rules import checked
from moe_plan.spec.yaml_reader import Document, Place

DOCUMENT = Document("random", None, {(): Place(1, 1, 1, 1, None)}, ())
INDEXED = (MlaAttention, CompressedAttention)
EVERY_KEY = 60
"""More than any test has: an indexer that keeps so many leaves nothing out."""
ALONE = {"shared_kv": False, "shared_positions": False}
SHARED_FIELDS = ("heads", "kv_heads", "head_dim", "value_dim", "window", "chunk", "position_distance")


def is_valid(spec: ModelSpec) -> bool:
    """Whether it is what a person may write: the validator's types, and all rules."""
    try:
        checked(ModelSpec.model_validate(spec.model_dump()), DOCUMENT)
    except (ValueError, InputError):
        return False
    return True


@dataclass(frozen=True)
class Mender:
    """Changes to the blocks of one spec, so that they go together."""

    spec: ModelSpec

    def mended(self) -> ModelSpec:
        spec = self.spec
        parts = {name: self._part(part) for name, part in spec.parts.items() if part.layers or part.tensors}
        return spec.model_copy(update=self._stack(spec) | {"parts": parts})

    def _part(self, part: Part) -> Part:
        # An encoder reads the decoder's embeddings.
        width = {"hidden": None} if part.role == "encoder" else {}
        return part.model_copy(update=self._stack(part) | width)

    def _stack(self, part: ModelSpec | Part) -> dict[str, object]:
        return {
            "attention": {name: self._attention(block) for name, block in part.attention.items()},
            "ffn": {name: self._ffn(block) for name, block in part.ffn.items()},
            "layers": tuple(map(self._run, part.layers)),
            "tensors": tensors(part.tensors),
        }

    def _run(self, run: Run) -> Run:
        pattern = tuple(map(self._run, run.pattern))
        return run.model_copy(update={"pattern": pattern, "tensors": tensors(run.tensors)})

    def _attention(self, block: object) -> object:
        """What a block shares, an earlier layer must have: `sharing` makes both."""
        if isinstance(block, Attention):
            cross = block.cross and self._has_encoder()
            return block.model_copy(update=ALONE | {"cross": cross, "causal": True})
        if isinstance(block, INDEXED) and block.indexer is not None:
            own = block.indexer.model_copy(update={"shared": False})
            return block.model_copy(update={"indexer": own})
        return block

    def _ffn(self, block: object) -> object:
        # Of a mixture in an encoder no rows are counted.
        return without_groups(without_zero(block) if self._has_encoder() else block)

    def _has_encoder(self) -> bool:
        return any(part.role == "encoder" and part.layers for part in self.spec.parts.values())


@st.composite
def sharing(draw: st.DrawFn, what: str) -> tuple[AnyAttention, AnyAttention]:
    """A block, and one that shares its keys, its table of positions, or its indexer's choice."""
    own = {"cross": False, "causal": True} | ALONE
    if what in ("keys", "positions"):
        first, second = (draw(gqa()).model_copy(update=own | {"keys_as_values": False}) for _ in range(2))
        rope = second.rope
        if rope is not None and rope.dim is not None and rope.dim > first.head_dim:
            rope = rope.model_copy(update={"dim": None})
        same = {name: getattr(first, name) for name in SHARED_FIELDS} | {
            "rope": rope,
            "position_buckets": None,
        }
        if what == "keys":
            return first, second.model_copy(update=same | {"shared_kv": True})
        first = first.model_copy(update={"position_buckets": draw(st.integers(4, 40))})
        return first, second.model_copy(update=same | {"shared_positions": True})
    indexer = draw(own_indexers)
    if what == "choice":
        first, second = draw(mla), draw(mla)
    else:
        ratio = {"ratio": draw(st.integers(1, 5))}
        first, second = (draw(ATTENTION_KINDS["compressed"]).model_copy(update=ratio) for _ in range(2))
    shared = indexer.model_copy(update={"shared": True})
    return first.model_copy(update={"indexer": indexer}), second.model_copy(update={"indexer": shared})


SHARED = {"gqa": ("keys", "positions"), "mla": ("choice",), "compressed": ("entries",)}


@st.composite
def with_company(draw: st.DrawFn, spec: ModelSpec, kinds: tuple[str, ...]) -> ModelSpec:
    """The spec with two layers before its own of which one shares what the other has; with an encoder to read."""
    attention, layers, parts = {**spec.attention}, spec.layers, {**spec.parts}
    known = [what for kind in kinds for what in SHARED.get(kind, ())]
    if known and draw(flags):
        attention["owner"], attention["sharer"] = draw(sharing(draw(st.sampled_from(known))))
        layers = (Run(attention="owner"), Run(attention="sharer", ffn=next(iter(spec.ffn))), *layers)
    if "gqa" in kinds and draw(flags):
        both = {"cross": False, "causal": False, "window": None, "chunk": None} | ALONE
        block = draw(gqa()).model_copy(update=both)
        run = Run(attention="both", ffn=next(iter(spec.ffn)))
        parts["reader"] = Part(role="encoder", attention={"both": block}, layers=(run,), norm=spec.norm)
        crossing = draw(gqa()).model_copy(update=ALONE | {"cross": True} | {"window": None, "chunk": None})
        attention["crossing"] = crossing
        layers = (Run(attention="crossing"), *layers)
    update = {"attention": attention, "layers": layers, "parts": parts}
    if spec.hyper_connections is None and draw(flags):
        update |= draw(joined(spec, layers))
    return spec.model_copy(update=update)


@st.composite
def joined(draw: st.DrawFn, spec: ModelSpec, layers: tuple[Run, ...]) -> dict[str, object]:
    """A layer of a flow that joins certain blocks, before the others."""
    flow = draw(st.sampled_from(sorted(SHAPES)))
    mixers = tuple(draw(st.sampled_from(sorted(spec.attention))) for _ in range(SHAPES[flow].attention))
    run = Run(attention=mixers, ffn=SHAPES[flow].ffn, flow=flow)
    return {"ffn": {**spec.ffn, "dense": draw(dense), "moe": draw(moe())}, "layers": (run, *layers)}


def tensors(described: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One of each name. Nobody knows what a matrix that no block describes is multiplied with."""
    return tuple(
        {
            tensor.name: tensor.model_copy(update={"use": "vector"})
            if tensor.use in (None, "matmul")
            else tensor
            for tensor in described
        }.values()
    )


def without_groups(block: object) -> object:
    """The block without groups that leave too little to choose from."""
    if not isinstance(block, MoeFfn) or block.router.groups is None:
        return block
    reachable = block.experts // block.router.groups * block.router.top_groups
    if reachable >= block.top_k and block.experts > block.router.groups:
        return block
    router = block.router.model_copy(update={"groups": None, "top_groups": None})
    return block.model_copy(update={"router": router})


def without_zero(block: object) -> object:
    """The block without experts that hold no weights."""
    if not isinstance(block, MoeFfn):
        return block
    return block.model_copy(update={"zero_experts": 0, "top_k": min(block.top_k, block.experts)})


def only_decoders_cross(spec: ModelSpec) -> bool:
    """Whether no encoder looks at another encoder's output."""
    return not any(
        getattr(part.attention.get(name) or spec.attention[name], "cross", False)
        for part in spec.parts.values()
        if part.role == "encoder"
        for run in unfolded(part.layers)
        for name in ([run.attention] if isinstance(run.attention, str) else run.attention or ())
    )


def counts_rows(spec: ModelSpec) -> bool:
    """Whether rows through experts are told apart: those of one mixture in a layer of the decoder are."""
    named = [[run.ffn] if isinstance(run.ffn, str) else run.ffn or () for run in unfolded(spec.layers)]
    mixtures = [[spec.ffn[name] for name in names if spec.ffn[name].kind == "moe"] for names in named]
    return all(len(found) < 2 or not any(block.zero_experts for block in found) for found in mixtures)


@st.composite
def runnable(draw: st.DrawFn, kinds: tuple[str, ...] = ()) -> ModelSpec:
    """A random spec that holds together, of every kind, flow and option."""
    spec = Mender(draw(specs(kinds))).mended()
    mended = draw(with_company(spec, kinds or tuple(ATTENTION_KINDS)))
    encoders = any(part.role == "encoder" for part in mended.parts.values())
    if encoders:
        mended = mended.model_copy(update={"ffn": {k: without_zero(b) for k, b in mended.ffn.items()}})
    mended = mended.model_copy(update={"ffn": {k: without_groups(b) for k, b in mended.ffn.items()}})
    assume(is_valid(mended) and only_decoders_cross(mended) and counts_rows(mended))
    return mended


LAYERS = 4


@st.composite
def calm(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(ATTENTION_KINDS)) -> ModelSpec:
    """A runnable spec of at most four layers whose factors amplify nothing much."""
    spec = draw(runnable(kinds))
    parts = {name: part.model_copy(update=gentle(part)) for name, part in spec.parts.items()}
    update = gentle(spec) | {"parts": parts, "vocab": max(spec.vocab, 7)}
    factors = ("embedding_scale", "residual_scale", "logit_scale")
    update |= {name: near_one(getattr(spec, name)) for name in factors}
    # Without a cap, so that a difference is small beside the logits themselves.
    update["logit_softcap"] = None
    calmed = spec.model_copy(update=update)
    assume(is_valid(calmed))
    return calmed


def gentle(part: ModelSpec | Part) -> dict[str, object]:
    """The first layers of a stack, its blocks without steep factors and without close choices."""
    layers = tuple(run.model_copy(update={"repeat": 1}) for run in islice(unfolded(part.layers), LAYERS))
    return {
        "layers": tuple(
            run.model_copy(update={"residual_alpha": near_one(run.residual_alpha)}) for run in layers
        ),
        "attention": {name: gentle_attention(block) for name, block in part.attention.items()},
    }


def gentle_attention(block: object) -> object:
    update: dict[str, object] = {}
    if isinstance(block, Attention | MlaAttention):
        update["scale"] = near_one(block.scale)
        if block.temperature is not None:
            beta = near_one(block.temperature.beta)
            update["temperature"] = block.temperature.model_copy(update={"beta": beta})
    if isinstance(block, INDEXED) and block.indexer is not None:
        update["indexer"] = block.indexer.model_copy(update={"top_k": EVERY_KEY})
    return block.model_copy(update=update)


def near_one(factor: object) -> object:
    return min(max(factor, 0.5), 2.5) if isinstance(factor, float) else factor
