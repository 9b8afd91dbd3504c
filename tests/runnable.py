"""Random specs that a replica can run: those of `strategies`, mended until every rule holds.

`runnable` is for counts, where no value matters. `calm` is for values: few layers and gentle factors, so that
float32 sums in another order stay close, and no choice that a rounding could flip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from hypothesis import assume
from hypothesis import strategies as st
from strategies import ATTENTION_KINDS, specs

from moe_plan.anatomy.build import unfolded
from moe_plan.errors import InputError
from moe_plan.spec.attention import Attention, CompressedAttention, MlaAttention
from moe_plan.spec.ffn import MoeFfn
from moe_plan.spec.model import ModelSpec, Part, Run, Tensor
from moe_plan.spec.rules import checked
from moe_plan.spec.yaml_reader import Document, Place

DOCUMENT = Document("random", None, {(): Place(1, 1, 1, 1, None)}, ())
INDEXED = (MlaAttention, CompressedAttention)
EVERY_KEY = 60
"""More than any test has: an indexer that keeps so many leaves nothing out."""
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
    shares: bool
    """Whether blocks that share an earlier layer's keys, choice or positions may stay so."""

    def mended(self) -> ModelSpec:
        spec = self.spec
        parts = {name: self._part(part) for name, part in spec.parts.items() if part.layers or part.tensors}
        return spec.model_copy(
            update={
                "attention": {name: self._attention(block) for name, block in spec.attention.items()},
                "ffn": {name: self._ffn(block) for name, block in spec.ffn.items()},
                "layers": tuple(map(self._run, spec.layers)),
                "tensors": tensors(spec.tensors),
                "parts": parts,
            }
        )

    def _part(self, part: Part) -> Part:
        update = {
            "attention": {name: self._attention(block) for name, block in part.attention.items()},
            "ffn": {name: self._ffn(block) for name, block in part.ffn.items()},
            "layers": tuple(map(self._run, part.layers)),
            "tensors": tensors(part.tensors),
        }
        # An encoder reads the decoder's embeddings.
        return part.model_copy(update=update | ({"hidden": None} if part.role == "encoder" else {}))

    def _run(self, run: Run) -> Run:
        pattern = tuple(map(self._run, run.pattern))
        return run.model_copy(update={"pattern": pattern, "tensors": tensors(run.tensors)})

    def _ffn(self, block: object) -> object:
        # Of a mixture in an encoder no rows are counted.
        return without_groups(without_zero(block) if self._has_encoder() else block)

    def _attention(self, block: object) -> object:
        if isinstance(block, Attention):
            return self._gqa(block)
        if isinstance(block, INDEXED) and block.indexer is not None:
            indexer = block.indexer.model_copy(
                update={"top_k": self._top_k(), "shared": block.indexer.shared and self._choices_agree()}
            )
            return block.model_copy(update={"indexer": indexer})
        return block

    def _gqa(self, block: Attention) -> Attention:
        first = self._owner()
        block = block.model_copy(update={"causal": True, "cross": block.cross and self._has_encoder()})
        if not self.shares or first is None:
            return block.model_copy(update={"shared_kv": False, "shared_positions": False})
        update = {name: getattr(first, name) for name in SHARED_FIELDS}
        rope = block.rope
        if rope is not None and rope.dim is not None and rope.dim > first.head_dim:
            update["rope"] = rope.model_copy(update={"dim": None})
        if block.keys_as_values:
            update["value_dim"] = None
        return block.model_copy(update=update)

    def _owner(self) -> Attention | None:
        """The block whose heads all others take, so that whatever is shared fits."""
        blocks = [b for b in self.spec.attention.values() if isinstance(b, Attention) and not b.cross]
        if not any(block.shared_kv or block.shared_positions for block in blocks):
            return None
        owners = (block for block in blocks if not block.shared_kv and not block.keys_as_values)
        return next(owners, None)

    def _has_encoder(self) -> bool:
        return any(part.role == "encoder" and part.layers for part in self.spec.parts.values())

    def _indexed(self) -> list[object]:
        blocks = self.spec.attention.values()
        return [block for block in blocks if isinstance(block, INDEXED) and block.indexer is not None]

    def _choices_agree(self) -> bool:
        """Whether all indexers choose among the same: tokens, or entries of one ratio."""
        return self.shares and len({(b.kind, getattr(b, "ratio", None)) for b in self._indexed()}) == 1

    def _top_k(self) -> int:
        return self._indexed()[0].indexer.top_k


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
    spec = draw(specs(kinds))
    mended = next((made for shares in (True, False) if is_valid(made := Mender(spec, shares).mended())), None)
    assume(mended is not None and only_decoders_cross(mended) and counts_rows(mended))
    return mended


LAYERS = 3


@st.composite
def calm(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(ATTENTION_KINDS)) -> ModelSpec:
    """A runnable spec of at most three layers whose factors amplify nothing much."""
    spec = draw(runnable(kinds))
    parts = {name: part.model_copy(update=gentle(part)) for name, part in spec.parts.items()}
    update = gentle(spec) | {"parts": parts, "vocab": max(spec.vocab, 7)}
    factors = ("embedding_scale", "residual_scale", "logit_scale", "logit_softcap")
    update |= {name: near_one(getattr(spec, name)) for name in factors}
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
