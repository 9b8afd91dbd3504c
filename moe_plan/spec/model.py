"""What a person writes about a model: parts, and runs of identical layers built from named blocks.

Nothing is computed here. Field names are those of the papers and of Hugging Face configs; the glossary
in CONTRIBUTING.md has one line for each. Every class is frozen and refuses unknown keys.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from moe_plan.spec import limits


class Frozen(BaseModel):
    """Base of every spec class: immutable, strictly typed, no unknown keys, no NaN."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,
    )


Count = Annotated[int, Field(ge=1, le=limits.COUNT)]
Layers = Annotated[int, Field(ge=1, le=limits.LAYERS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=limits.NAME)]
Text = Annotated[str, Field(min_length=1, max_length=limits.TEXT)]
Source = Annotated[str, Field(min_length=1, max_length=limits.TEXT)]
PublishedCount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[KMBT]$")]

Activation = Literal["silu", "gelu", "relu", "relu2"]
Projection = Literal["q", "k", "v", "o"]
DataType = Literal["fp32", "bf16", "fp16"]
BufferType = Literal["fp32", "bf16", "fp16", "int64"]

# Kept in step with moe_plan.estimate.formats.FORMATS by a test; written out so that editors complete it.
WeightFormat = Literal[
    "fp32",
    "bf16",
    "fp16",
    "fp8",
    "fp8-block",
    "fp8-block-bf16",
    "fp8-block-e8m0",
    "fp8-channel",
    "int8",
    "int4-g32",
    "int4-g64",
    "int4-g128",
    "int4-g32-zp",
    "int4-g64-zp",
    "int4-g128-zp",
    "mxfp4",
    "nvfp4",
    "q2_k",
    "q3_k",
    "q4_k",
    "q5_k",
    "q6_k",
    "q8_0",
]

# The tensor classes of physics: totals are broken down by them, and formats are chosen by them.
Component = Literal[
    "embedding",
    "attention",
    "attention_indexer",
    "attention_compressor",
    "linear_attention_or_ssm",
    "routed_attention_experts",
    "router",
    "routed_experts",
    "shared_experts",
    "shared_expert_gate",
    "dense_mlp",
    "norm",
    "hyper_connections",
    "lm_head",
    "other",
]


class Tensor(Frozen):
    """A tensor that no block describes: a projection of an MTP module, a vision tower's position table."""

    name: Name
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]
    """Stored shape, outputs first, as a torch `Linear` weight."""
    component: Component = "other"
    use: Literal["matmul", "lookup", "vector"] | None = None
    """How a token uses it: `matmul` 2 FLOPs a parameter, `lookup` one row, `vector` elementwise.
    Without it: two or more dimensions are a matmul, one is a vector."""
    buffer: BufferType | None = None
    """Set for a tensor that sits in the checkpoint but is not trained: its storage type."""
    copy_of: Literal["embedding", "lm_head"] | None = None
    """A second copy in the checkpoint of a tensor that the text model already holds."""


class Attention(Frozen):
    """Multi-head, grouped-query or multi-query attention (arXiv 2305.13245)."""

    kind: Literal["gqa"]
    heads: Count
    """Query heads."""
    kv_heads: Count
    """Key and value heads; equal to `heads` for multi-head attention."""
    head_dim: Count
    value_dim: Count | None = None
    """Width of a value head where it differs from `head_dim` (MiMo)."""
    q_rank: Count | None = None
    """Width of a low-rank query (Step3): hidden -> q_rank -> norm -> heads."""
    bias: tuple[Projection, ...] = ()
    """Projections that add a bias."""
    qk_norm: Literal["head", "whole"] | None = None
    """A norm on queries and keys: one `head_dim` vector shared by the heads, or one over all heads."""
    gate: bool = False
    """An output gate computed from the layer's input, as wide as the heads' output (Qwen3-Next)."""
    sinks: bool = False
    """One learned attention-sink logit per query head (gpt-oss)."""
    window: Count | None = None
    """Sliding window: a token sees at most this many tokens, itself included."""
    chunk: Count | None = None
    """Chunked attention: a token sees its own chunk of this many tokens (Llama 4)."""
    keys_as_values: bool = False
    """No value projection: values are made from the keys' projection (Gemma 4). Both are cached."""
    shared_kv: bool = False
    """Reuses the keys and values of an earlier layer: no projection and no cache of its own."""
    position_buckets: Count | None = None
    """A learned bias per relative-position bucket and head (T5)."""
    causal: bool = True
    """False in encoders and vision towers: a token sees the whole sequence."""
    cross: bool = False
    """Keys and values come from the encoder's output; the cache grows with the source."""


class Indexer(Frozen):
    """Lightning indexer of sparse attention (DeepSeek-V3.2): scores all keys, keeps `top_k`."""

    heads: Count
    head_dim: Count
    top_k: Count


class MlaAttention(Frozen):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

    kind: Literal["mla"]
    heads: Count
    q_rank: Count | None = None
    """Width of the compressed query; null where queries are projected directly (V2-Lite)."""
    kv_rank: Count
    """Width of the cached latent."""
    nope_dim: Count
    rope_dim: Count
    v_dim: Count
    indexer: Indexer | None = None


class CompressedAttention(Frozen):
    """A window of shared key-value vectors plus compressed older ones (DeepSeek-V4)."""

    kind: Literal["compressed"]
    heads: Count
    head_dim: Count
    """Width of the one vector that serves every head as key and as value."""
    q_rank: Count
    o_groups: Count
    o_rank: Count
    """The output projection is low-rank in `o_groups` groups of `o_rank`."""
    sinks: bool = False
    window: Count
    ratio: Count | None = None
    """One compressed entry for this many tokens; null where the layer has only its window."""
    overlap: bool = False
    """Neighbouring compression windows overlap: the compressor projects to twice the width."""
    indexer: Indexer | None = None


class AttentionExperts(Frozen):
    """Mixture of attention experts: routed query and output projections, shared keys (JetMoE)."""

    kind: Literal["moa"]
    experts: Count
    top_k: Count
    heads: Count
    """Heads of one expert, equal to the shared key-value heads."""
    head_dim: Count
    output_bias: bool = False


class GatedDelta(Frozen):
    """Gated delta rule (arXiv 2412.06464), as in Qwen3-Next."""

    kind: Literal["gated-delta"]
    key_heads: Count
    value_heads: Count
    key_dim: Count
    value_dim: Count
    conv: Count
    """Taps of the short causal convolution over queries, keys and values."""


class KimiDelta(Frozen):
    """Kimi delta attention: a gated delta rule with a decay per channel (arXiv 2510.26692)."""

    kind: Literal["kda"]
    heads: Count
    head_dim: Count
    conv: Count


class LightningAttention(Frozen):
    """Linear attention with a fixed decay per head (MiniMax-01, arXiv 2501.08313)."""

    kind: Literal["lightning"]
    heads: Count
    head_dim: Count


class Mamba1(Frozen):
    """Selective state space (arXiv 2312.00752), with Jamba's norms on dt, B and C where set."""

    kind: Literal["mamba1"]
    inner: Count
    state: Count
    dt_rank: Count
    conv: Count
    conv_bias: bool = True
    inner_norms: bool = False


class Mamba2(Frozen):
    """State space duality (arXiv 2405.21060)."""

    kind: Literal["mamba2"]
    heads: Count
    head_dim: Count
    state: Count
    groups: Count
    conv: Count
    conv_bias: bool = True


class ShortConv(Frozen):
    """Gated short convolution (LFM2)."""

    kind: Literal["short-conv"]
    taps: Count


AnyAttention = Annotated[
    Attention
    | MlaAttention
    | CompressedAttention
    | AttentionExperts
    | GatedDelta
    | KimiDelta
    | LightningAttention
    | Mamba1
    | Mamba2
    | ShortConv,
    Field(discriminator="kind"),
]


class DenseFfn(Frozen):
    """A feed-forward network that every token uses."""

    kind: Literal["dense"]
    width: Count
    gated: bool = True
    """Three matrices (gate, up, down) or two (up, down)."""
    bias: bool = False
    activation: Activation = "silu"


class Router(Frozen):
    """How a token chooses its experts."""

    score: Literal["softmax", "sigmoid", "sqrt-softplus"] = "softmax"
    bias: bool = False
    """A bias on the router's logits."""
    correction_bias: Literal["buffer", "parameter"] | None = None
    """A load-balancing bias per expert, used to select and not to weigh: a checkpoint buffer in
    float32 (DeepSeek-V3), or a trained parameter (Ernie 4.5)."""
    groups: Count | None = None
    """Experts are chosen within the best `top_groups` of this many groups."""
    top_groups: Count | None = None
    input_scale: bool = False
    """A learned scale on the router's input (Gemma 4)."""
    expert_scale: bool = False
    """A learned scale per expert (Gemma 4)."""
    token_table: bool = False
    """Experts are looked up by token id in an integer table instead of scored (DeepSeek-V4)."""


class MoeFfn(Frozen):
    """Routed experts, with any shared expert that every token uses beside them."""

    kind: Literal["moe"]
    experts: Count
    """Routed experts that hold weights."""
    top_k: Count
    """Experts chosen for a token, zero-compute ones included."""
    width: Count
    """Intermediate width of one routed expert."""
    gated: bool = True
    bias: bool = False
    """Biases on each expert's matrices (gpt-oss)."""
    output_bias: bool = False
    """One bias on the summed output of the experts (JetMoE)."""
    activation: Activation = "silu"
    zero_experts: Annotated[int, Field(ge=0, le=limits.COUNT)] = 0
    """Identity experts that a token may choose: no weights, no FLOPs (LongCat)."""
    latent: Count | None = None
    """Width in which the routed experts work, reached by shared projections (Nemotron-3 Super)."""
    shared_width: Count | None = None
    """Total intermediate width of the shared experts."""
    shared_gate: bool = False
    """A sigmoid gate on the shared expert (Qwen)."""
    router: Router = Router(score="softmax")


AnyFfn = Annotated[DenseFfn | MoeFfn, Field(discriminator="kind")]

BlockNames = Name | Annotated[tuple[Name, ...], Field(max_length=8)]


class Run(Frozen):
    """`repeat` identical layers, or with `pattern` a sequence of runs repeated as a whole."""

    repeat: Layers = 1
    attention: BlockNames | None = None
    """Name of the attention block, a list where a layer has several, nothing where it has none."""
    ffn: BlockNames | None = None
    """Name of the FFN block; a list is parallel branches or several blocks of one layer."""
    norms: Annotated[int, Field(ge=0, le=16)] | None = None
    """Norms of hidden width in a layer; by default one for each attention and FFN block."""
    tensors: tuple[Tensor, ...] = ()
    """Further tensors of each of these layers."""
    pattern: tuple[Run, ...] = ()
    """Instead of blocks: the runs that one repetition consists of."""


class Norm(Frozen):
    """The norm of the residual stream."""

    kind: Literal["rms", "layer"] = "rms"
    bias: bool = False


class Part(Frozen):
    """A stack of layers beside the main decoder, counted apart by its role.

    An `encoder` belongs to the text model; `mtp`, `vision`, `audio` and `projector` do not.
    """

    role: Literal["encoder", "mtp", "vision", "audio", "projector"]
    hidden: Count | None = None
    """Width of its residual stream; by default the decoder's."""
    norm: Norm | None = None
    final_norm: bool = True
    attention: dict[Name, AnyAttention] = {}
    ffn: dict[Name, AnyFfn] = {}
    """Blocks of its own; names not found here are the model's."""
    layers: tuple[Run, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    hyper_connections: Count | None = None


class Published(Frozen):
    """The vendor's own figures, as printed."""

    total: PublishedCount | None = None
    active: PublishedCount | None = None
    source: Source
    convention: Literal["active", "compute", "body"] | None = None
    """What the vendor's active figure counts: everything on the path, without the embedding table,
    or without table and head."""
    exact: Annotated[int, Field(ge=1)] | None = None
    """Parameters of the text model counted from the release's own tensors."""
    exact_source: Source | None = None
    note: Text | None = None


class FormatRule(Frozen):
    """One format and the tensors that are stored in it."""

    format: WeightFormat
    tensors: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Tensor classes (`routed_experts`) or single tensors (`router.correction_bias`); the later rule wins."""


class Checkpoint(Frozen):
    """How a release stores its weights."""

    source: Source | None = None
    default: DataType = "bf16"
    """Format of everything that no rule names."""
    rules: tuple[FormatRule, ...] = ()
    stores_tied_head: bool = False
    """The release stores a tied output head a second time (Granite 3.0)."""


class ModelSpec(Frozen):
    """One model: its source, what its vendor published, its blocks and its layers."""

    name: Name
    source: Source
    """Where the figures come from, normally the release's config.json."""
    license: Text | None = None
    published: Published
    note: Text | None = None
    """What a reader should know about how this model is counted."""
    hidden: Count
    """Width of the residual stream."""
    vocab: Count
    """Rows of the embedding table as stored."""
    context: Count | None = None
    """Longest context the release supports, in tokens; absent where the source does not say."""
    tied: bool = False
    """The output head is the embedding table."""
    head_bias: bool = False
    norm: Norm = Norm()
    final_norm: bool = True
    attention: dict[Name, AnyAttention] = {}
    ffn: dict[Name, AnyFfn] = {}
    layers: Annotated[tuple[Run, ...], Field(min_length=1)]
    tensors: tuple[Tensor, ...] = ()
    hyper_connections: Count | None = None
    """Residual streams of manifold-constrained hyper-connections (DeepSeek-V4)."""
    parts: dict[Name, Part] = {}
    native: Checkpoint = Checkpoint()
    checkpoints: dict[Name, Checkpoint] = {}
    """Other releases of the same model, by the name to give to `--weights`."""
