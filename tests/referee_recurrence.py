"""Recurrent mixers of transformers beside ours: tiny configurations, weights copied, both through their caches.

Sizes are odd and unequal. Where a class fuses projections in an order of its own, `weights` puts ours into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch
import transformers
from mixers import HIDDEN, NORM, made
from recurrence_weights import (
    DELTA,
    KIMI,
    LIGHTNING,
    MAMBA1,
    MAMBA2,
    SHORT,
    Tensors,
    delta_state,
    delta_weights,
    kimi_weights,
    lightning_weights,
    mamba1_state,
    mamba1_weights,
    mamba2_state,
    mamba2_weights,
    same_state,
    short_conv_weights,
)

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.recurrence.delta import GatedDeltaMixer, KimiDeltaMixer
from moe_plan.replica.recurrence.lightning import LightningMixer
from moe_plan.replica.recurrence.mamba1 import Mamba1Mixer
from moe_plan.replica.recurrence.mamba2 import Mamba2Mixer
from moe_plan.replica.recurrence.short_conv import ShortConvMixer
from moe_plan.spec.attention import Mamba2

FACTS = {
    "hidden_size": HIDDEN,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 14,
    "vocab_size": 23,
    "pad_token_id": None,
    "rms_norm_eps": NORM.eps,
}
LINEAR = {"num_hidden_layers": 1, "layer_types": ["linear_attention"]}


@dataclass(frozen=True)
class Family:
    """One mixer class of transformers, and the spec that should be the same."""

    module: str
    prefix: str
    attention: str
    make: Callable[..., Mixer]
    spec: Any
    weights: Callable[[Tensors], Tensors]
    facts: dict[str, Any] = field(default_factory=lambda: LINEAR)
    state: Callable[[torch.Tensor], torch.Tensor] = same_state
    layer: int = 0
    goes_on: bool = True
    """Whether the class can take several tokens at once when its cache is not empty."""

    def ours(self) -> Mixer:
        return made(self.make(self.spec, HIDDEN, NORM))

    def theirs(self, ours: Mixer) -> Theirs:
        code = import_module(f"transformers.models.{self.module}.modeling_{self.module}")
        config = getattr(transformers, f"{self.prefix}Config")(**FACTS | self.facts)
        attention = getattr(code, f"{self.prefix}{self.attention}")(config, self.layer)
        copy_weights(attention, self.weights(bare(ours)))
        assert sum(p.numel() for p in attention.parameters()) == sum(t.numel() for _, t in ours.tensors())
        return Theirs(config, attention.eval(), self.layer)


def bare(ours: Mixer) -> Tensors:
    """Tensors of a mixer, without the name of its owner."""
    return {name.removeprefix("attention."): tensor for name, tensor in ours.tensors()}


def copy_weights(theirs: Any, weights: Tensors) -> None:
    """Every parameter of theirs: none may be left over."""
    parameters = dict(theirs.named_parameters())
    assert parameters.keys() == weights.keys()
    for name, weight in weights.items():
        parameters[name].data.copy_(weight.reshape(parameters[name].shape))


@dataclass
class Theirs:
    """A mixer of transformers, and the state that it left in its last cache."""

    config: Any
    attention: Any
    layer: int
    recurrent: torch.Tensor | None = None

    def in_pieces(self, x: torch.Tensor, pieces: list[int]) -> torch.Tensor:
        run = self._minimax if "MiniMax" in type(self.attention).__name__ else self._linear
        return run(x.split(pieces, 1))

    def _linear(self, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        cache = transformers.DynamicCache(config=self.config)
        key = "past_key_values" if "ShortConv" in type(self.attention).__name__ else "cache_params"
        out = torch.cat([self.attention(part, **{key: cache}) for part in parts], 1)
        self.recurrent = cache.layers[self.layer].recurrent_states[0]
        return out

    def _minimax(self, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        cache = import_module("transformers.models.minimax.modeling_minimax").MiniMaxCache()
        out = torch.cat([self.attention(part, None, None, cache)[0] for part in parts], 1)
        self.recurrent = cache.get_linear_cache(self.layer)
        return out


GRANITE = {"mamba_n_heads": 12, "mamba_d_head": 7, "mamba_d_state": 5, "mamba_chunk_size": 4}
NEMOTRON = {
    "mamba_num_heads": 12,
    "mamba_head_dim": 7,
    "ssm_state_size": 5,
    "n_groups": 3,
    "conv_kernel": 4,
    "chunk_size": 4,
    "layer_norm_epsilon": NORM.eps,
    # The release's limits of time steps are (0, inf); the class clips at this instead, and in a prefill only.
    "time_step_min": 0.0,
}
JAMBA = {"mamba_d_state": 5, "mamba_dt_rank": 3, "num_hidden_layers": 1, "attn_layer_offset": 4}
LAYERS = 7
MINIMAX = {
    "num_hidden_layers": LAYERS,
    "layer_types": ["linear_attention"] * LAYERS,
    "head_dim": 10,
    "block_size": 8,
}


def _minimax(layer: int) -> Family:
    make = partial(LightningMixer, layer=layer, layers=LAYERS)
    return Family(
        "minimax",
        "MiniMax",
        "LightningAttention",
        make,
        LIGHTNING,
        lightning_weights,
        # Its norm has an eps of its own, whatever the config says.
        MINIMAX | {"rms_norm_eps": 0.1},
        layer=layer,
    )


def _mamba2(module: str, prefix: str, attention: str, spec: Mamba2, facts: dict[str, Any]) -> Family:
    state = partial(mamba2_state, spec.head_dim)
    return Family(module, prefix, attention, Mamba2Mixer, spec, mamba2_weights, LINEAR | facts, state)


def _granite(groups: int, *, bias: bool) -> Family:
    spec = MAMBA2.model_copy(update={"groups": groups, "conv_bias": bias})
    facts = GRANITE | {"mamba_n_groups": groups, "mamba_conv_bias": bias}
    return _mamba2("granitemoehybrid", "GraniteMoeHybrid", "MambaLayer", spec, facts)


def _jamba(*, bias: bool) -> Family:
    return Family(
        "jamba",
        "Jamba",
        "MambaMixer",
        Mamba1Mixer,
        MAMBA1.model_copy(update={"conv_bias": bias}),
        mamba1_weights,
        JAMBA | {"mamba_conv_bias": bias},
        mamba1_state,
        goes_on=False,
    )


FAMILIES = {
    "qwen3-next": Family(
        "qwen3_next",
        "Qwen3Next",
        "GatedDeltaNet",
        GatedDeltaMixer,
        DELTA,
        delta_weights,
        LINEAR
        | {
            "linear_num_key_heads": 3,
            "linear_num_value_heads": 6,
            "linear_key_head_dim": 5,
            "linear_value_head_dim": 7,
            "linear_conv_kernel_dim": 4,
        },
        delta_state,
    ),
    "kimi-linear": Family(
        "kimi_linear",
        "KimiLinear",
        "DeltaAttention",
        KimiDeltaMixer,
        KIMI,
        kimi_weights,
        LINEAR | {"linear_num_heads": 3, "linear_head_dim": 10, "linear_conv_kernel_dim": 4},
    ),
    "minimax-text-01, first layer": _minimax(0),
    "minimax-text-01, third layer": _minimax(2),
    "minimax-text-01, last layer": _minimax(LAYERS - 1),
    "jamba": _jamba(bias=True),
    "jamba without biases": _jamba(bias=False),
    "granite-4": _granite(1, bias=True),
    "granite-4 of groups, without biases": _granite(3, bias=False),
    "nemotron-3": _mamba2("nemotron_h", "NemotronH", "Mamba2Mixer", MAMBA2, NEMOTRON),
    "lfm2": Family(
        "lfm2_moe",
        "Lfm2Moe",
        "ShortConv",
        ShortConvMixer,
        SHORT,
        short_conv_weights,
        {"num_hidden_layers": 1, "layer_types": ["conv"], "conv_L_cache": 3, "conv_bias": False},
    ),
}

KINDS = {
    "gated-delta": "qwen3-next",
    "kda": "kimi-linear",
    "lightning": "minimax-text-01, third layer",
    "mamba1": "jamba",
    "mamba2": "nemotron-3",
    "short-conv": "lfm2",
}
"""One family of each kind of spec."""
