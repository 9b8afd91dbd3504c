"""Switch Transformers, encoder and decoder, as a whole model."""

from __future__ import annotations

from whole_case import Case, Source, Table
from whole_facts import Facts, attention_of, dense_of, experts_of, norm

from moe_plan.replica.unfold import layers_of
from moe_plan.spec.model import ModelSpec, Run


def sparse_layers(spec: ModelSpec, runs: tuple[Run, ...]) -> int:
    """How many layers have experts: every second one, from the second on."""
    kinds = [spec.ffn[str(run.ffn)].kind for run in layers_of(runs)]
    assert kinds == ["moe" if index % 2 else "dense" for index in range(len(kinds))]
    return kinds.count("moe")


def switch(spec: ModelSpec) -> Facts:
    attention, experts = attention_of(spec), experts_of(spec)
    encoder = spec.parts["encoder"].layers
    assert experts.width == dense_of(spec).width
    return {
        "vocab_size": spec.vocab,
        "d_model": spec.hidden,
        "d_kv": attention.head_dim,
        "num_heads": attention.heads,
        "d_ff": experts.width,
        "num_layers": len(layers_of(encoder)),
        "num_decoder_layers": len(layers_of(spec.layers)),
        "num_sparse_encoder_layers": sparse_layers(spec, encoder),
        "num_sparse_decoder_layers": sparse_layers(spec, spec.layers),
        "num_experts": experts.experts,
        # No token is dropped: the calculator has no capacity.
        "expert_capacity": 10**6,
        "relative_attention_num_buckets": attention.position_buckets,
        "relative_attention_max_distance": attention.position_distance,
        "layer_norm_epsilon": spec.norm.eps,
        "tie_word_embeddings": spec.tied,
        "pad_token_id": None,
        "eos_token_id": None,
        "decoder_start_token_id": 0,
    }


def one_width(spec: ModelSpec) -> ModelSpec:
    """Dense networks as wide as an expert."""
    width = experts_of(spec).width
    blocks = {name: block.model_copy(update={"width": width}) for name, block in spec.ffn.items()}
    return spec.model_copy(update={"ffn": blocks})


def own(part: str) -> Source:
    """Of the decoder's own attention, or the encoder's only one."""
    return lambda ours: ours.get(f"attention.0.{part}", ours.get(f"attention.{part}"))


def expert(number: int, part: str) -> Source:
    return lambda ours: ours[f"experts.{part}"][number].T


def networks(layer: int, experts: int) -> Table:
    """The network of a layer, dense or sparse."""
    table: Table = {
        f"layer.{layer}.mlp.wi.weight": "dense.up",
        f"layer.{layer}.mlp.wo.weight": "dense.down",
        f"layer.{layer}.mlp.router.classifier.weight": "router.weight",
    }
    for number in range(experts):
        table[f"layer.{layer}.mlp.experts.expert_{number}.wi.weight"] = expert(number, "up")
        table[f"layer.{layer}.mlp.experts.expert_{number}.wo.weight"] = expert(number, "down")
    return table


def tensors(spec: ModelSpec) -> Table:
    """Attention of a decoder layer, attention to the source, network; an encoder layer has the first and last."""
    experts = experts_of(spec).experts
    table = networks(1, experts) | networks(2, experts)
    for part in "qkvo":
        table[f"layer.0.SelfAttention.{part}.weight"] = own(part)
        table[f"layer.1.EncDecAttention.{part}.weight"] = f"attention.1.{part}"
    table["layer.0.SelfAttention.relative_attention_bias.weight"] = own("position_bias")
    return table | {f"layer.{index}.layer_norm.weight": norm(index) for index in range(3)}


CASES = {
    "switch-base-8": Case(
        "SwitchTransformers",
        "switch-base-8",
        switch,
        tensors,
        head="ForConditionalGeneration",
        outer={
            "shared.weight": "embedding",
            "encoder.embed_tokens.weight": "embedding",
            "decoder.embed_tokens.weight": "embedding",
            "lm_head.weight": "embedding",
            "decoder.final_layer_norm.weight": "norm.final.weight",
            "encoder.final_layer_norm.weight": "encoder.norm.final.weight",
        },
        stacks={"decoder": "decoder.block", "encoder": "encoder.block"},
        tied=one_width,
        quirks=("tokens beyond an expert's capacity are dropped; the capacity is set beyond any batch here",),
    ),
}
