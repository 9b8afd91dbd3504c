"""The ground of the spec classes: their common base, and the kinds of number, name and format they use."""

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

Positive = Annotated[float, Field(gt=0, le=1e12)]
Activation = Literal["silu", "gelu", "gelu-tanh", "relu", "relu2", "oai-swiglu"]
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
