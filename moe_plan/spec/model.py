"""What a person writes about a model: parts, and runs of identical layers built from named blocks.

Nothing is computed here. Field names are those of the papers and of Hugging Face configs; the glossary
in CONTRIBUTING.md has one line for each. Every class is frozen and refuses unknown keys.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec.attention import AnyAttention
from moe_plan.spec.ffn import AnyFfn
from moe_plan.spec.fields import (
    BufferType,
    Component,
    Count,
    DataType,
    Frozen,
    Layers,
    Name,
    Positive,
    PublishedCount,
    Source,
    Text,
    WeightFormat,
)


class Tensor(Frozen):
    """A tensor that no block describes: a projection of an MTP module, a vision tower's position table."""

    name: Name
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)]
    """Stored shape, outputs first, as a torch `Linear` weight."""
    component: Component = "other"
    use: Literal["matmul", "lookup", "vector"] | None = None
    """How a token uses it: `matmul` 2 FLOPs a parameter, `lookup` one row, `vector` elementwise.
    Without it: two or more dimensions are a matmul, one is a vector."""
    buffer: BufferType | None = None
    """Set for a tensor that sits in the checkpoint but is not trained: its storage type."""
    copy_of: Literal["embedding", "lm_head"] | None = None
    """A second copy in the checkpoint of a tensor that the text model already holds."""


BlockNames = Name | Annotated[tuple[Name, ...], Field(max_length=8)]


Flow = Literal["sequential", "sandwich", "normed-residual", "dense-residual", "shortcut", "parallel-sandwich"]


class Run(Frozen):
    """`repeat` identical layers, or with `pattern` a sequence of runs repeated as a whole."""

    repeat: Layers = 1
    attention: BlockNames | None = None
    """Name of the attention block, a list where a layer has several, nothing where it has none."""
    ffn: BlockNames | None = None
    """Name of the FFN block; a list is parallel branches or several blocks of one layer."""
    norms: Annotated[int, Field(ge=0, le=16)] | None = None
    """Norms of hidden width in a layer: what its flow takes, one a block in most."""
    flow: Flow = "sequential"
    """How the blocks are joined to the residual stream; CONTRIBUTING.md draws each."""
    residual_alpha: Positive = 1.0
    """Factor on what a `normed-residual` layer adds its blocks to (MiniMax-Text-01)."""
    tensors: tuple[Tensor, ...] = ()
    """Further tensors of each of these layers."""
    pattern: tuple[Run, ...] = ()
    """Instead of blocks: the runs that one repetition consists of."""


class Norm(Frozen):
    """The norm of the residual stream."""

    kind: Literal["rms", "layer"] = "rms"
    bias: bool = False
    eps: Positive = 1e-6
    zero_centered: bool = False
    """Weights are stored less one, those of the norms on queries and keys too (Qwen3-Next)."""


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
    embedding_scale: Positive | Literal["sqrt-hidden"] = 1.0
    """Factor on the embeddings (Granite, Grok, Gemma)."""
    residual_scale: Positive = 1.0
    """Factor on what each block adds to the residual stream (Granite)."""
    logit_scale: Positive | Literal["rsqrt-hidden"] = 1.0
    """Factor on the logits (Granite, Grok; T5 where its head is tied)."""
    logit_softcap: Positive | None = None
    """Logits are squeezed into plus or minus this by a tanh (Gemma)."""
    parts: dict[Name, Part] = {}
    native: Checkpoint = Checkpoint()
    checkpoints: dict[Name, Checkpoint] = {}
    """Other releases of the same model, by the name to give to `--weights`."""
