"""What the configurations of transformers' families have in common, read from a spec; names of their tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from whole_case import Ours, Source, Table

from moe_plan.replica.unfold import block_names, layers_of
from moe_plan.spec.attention import Attention, MlaAttention
from moe_plan.spec.ffn import DenseFfn, MoeFfn
from moe_plan.spec.model import ModelSpec
from moe_plan.spec.rope import Rope

Facts = dict[str, Any]


def attention_of(spec: ModelSpec) -> Attention:
    """The first block of grouped queries."""
    return next(block for block in spec.attention.values() if isinstance(block, Attention))


def latent_of(spec: ModelSpec) -> MlaAttention:
    """The first block of latent attention."""
    return next(block for block in spec.attention.values() if isinstance(block, MlaAttention))


def experts_of(spec: ModelSpec) -> MoeFfn:
    """The first mixture of experts."""
    return next(block for block in spec.ffn.values() if isinstance(block, MoeFfn))


def dense_of(spec: ModelSpec) -> DenseFfn:
    """The first dense network."""
    return next(block for block in spec.ffn.values() if isinstance(block, DenseFfn))


def names_of_layers(spec: ModelSpec, slot: str) -> list[str]:
    """For each decoder layer, the name of its (first) block of attention or ffn."""
    return [next(iter(block_names(getattr(run, slot))), "") for run in layers_of(spec.layers)]


def rope_parameters(rope: Rope, width: int) -> Facts:
    """What a config.json says of the rotary positions of heads `width` wide."""
    facts: Facts = {"rope_type": "default", "rope_theta": rope.theta}
    if rope.dim is not None:
        facts["partial_rotary_factor"] = rope.dim / width
        assert int(width * facts["partial_rotary_factor"]) == rope.dim
    if rope.scaling is not None:
        given = rope.scaling.model_dump(exclude_none=True)
        facts["rope_type"] = given.pop("kind")
        facts["original_max_position_embeddings"] = given.pop("original_context")
        facts |= given
    return facts


def common(spec: ModelSpec) -> Facts:
    """Sizes that every configuration names alike; special tokens mean nothing here."""
    return {
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "num_hidden_layers": len(layers_of(spec.layers)),
        "max_position_embeddings": spec.context,
        "rms_norm_eps": spec.norm.eps,
        "tie_word_embeddings": spec.tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def plain(spec: ModelSpec) -> Facts:
    """`common`, and one kind of grouped-query attention for all layers."""
    block = attention_of(spec)
    facts = common(spec) | {
        "num_attention_heads": block.heads,
        "num_key_value_heads": block.kv_heads,
        "head_dim": block.head_dim,
    }
    if block.rope is not None:
        facts["rope_parameters"] = rope_parameters(block.rope, block.head_dim)
    return facts


def norm(index: int) -> Source:
    """One norm of the layer, in the order of its flow."""
    return lambda ours: ours["norm.weight"][index]


def norm_bias(index: int) -> Source:
    """Its bias, where norms have one."""
    return lambda ours: ours["norm.bias"][index]


def gate_up(ours: Ours) -> torch.Tensor:
    """[E, 2F, D]: gate, then up."""
    return torch.cat((ours["experts.gate"], ours["experts.up"]), 2).mT


def down(ours: Ours) -> torch.Tensor:
    """[E, D, F]."""
    return ours["experts.down"].mT


def joined(*names: str) -> Source:
    """Several of ours, one after the other, as outputs of one matrix."""
    return lambda ours: torch.cat([ours[name] for name in names])


def three(module: str, owner: str) -> Table:
    """A gated network of theirs: `module.gate_proj.weight` is ours `owner.gate`."""
    return {f"{module}.{part}_proj.weight": f"{owner}.{part}" for part in ("gate", "up", "down")}


def renamed(table: Table, old: str, new: str) -> Table:
    """The table with `old` in the names of theirs replaced."""
    return {name.replace(old, new): source for name, source in table.items()}


def always(table: Table) -> Callable[[ModelSpec], Table]:
    """A table that no size decides on."""
    return lambda _spec: table


NORMS: Table = {"input_layernorm.weight": norm(0), "post_attention_layernorm.weight": norm(1)}
NORM_BIASES: Table = {"input_layernorm.bias": norm_bias(0), "post_attention_layernorm.bias": norm_bias(1)}
PROJECTIONS: Table = {f"self_attn.{part}_proj.weight": f"attention.{part}" for part in "qkvo"}
BIASES: Table = {f"self_attn.{part}_proj.bias": f"attention.{part}_bias" for part in "qkvo"}
QK_NORMS: Table = {f"self_attn.{part}_norm.weight": f"attention.{part}_norm" for part in "qk"}
ATTENTION: Table = NORMS | PROJECTIONS
DENSE: Table = three("mlp", "dense")
EXPERTS: Table = {
    "mlp.gate.weight": "router.weight",
    "mlp.experts.gate_up_proj": gate_up,
    "mlp.experts.down_proj": down,
}
CORRECTION: Table = {"mlp.gate.e_score_correction_bias": "router.correction_bias"}


def leading_dense(spec: ModelSpec) -> int:
    """Layers at the start whose network is dense; all others have experts."""
    kinds = [spec.ffn[name].kind for name in names_of_layers(spec, "ffn")]
    count = kinds.index("moe")
    assert kinds == ["dense"] * count + ["moe"] * (len(kinds) - count)
    return count


def with_hidden(spec: ModelSpec, hidden: int) -> ModelSpec:
    """Of another hidden width; only for specs without tensors of their own."""
    assert not any(run.tensors for run in layers_of(spec.layers)) and not spec.tensors
    return spec.model_copy(update={"hidden": hidden})


def hidden_of_heads(spec: ModelSpec) -> ModelSpec:
    """Heads together as wide as the residual stream."""
    block = attention_of(spec)
    return with_hidden(spec, block.heads * block.head_dim)


def hidden_in_heads(spec: ModelSpec) -> ModelSpec:
    """A residual stream of a multiple of the number of heads, whose own width is another."""
    heads = attention_of(spec).heads
    return with_hidden(spec, -(-spec.hidden // heads) * heads)


def whole_shared_experts(spec: ModelSpec) -> ModelSpec:
    """A shared network as wide as a whole number of experts."""

    def whole(block: DenseFfn | MoeFfn) -> DenseFfn | MoeFfn:
        if not isinstance(block, MoeFfn) or block.shared_width is None:
            return block
        count = max(1, round(block.shared_width / block.width))
        return block.model_copy(update={"shared_width": count * block.width})

    return spec.model_copy(update={"ffn": {name: whole(block) for name, block in spec.ffn.items()}})


def mixers_of(spec: ModelSpec) -> list[Any]:
    """The attention block of each decoder layer, which has one."""
    return [spec.attention[name] for name in names_of_layers(spec, "attention")]
