"""The referee: transformers' own classes, built on the meta device at full published width.

Nothing is shared with this project but the figures of each release's config.json (referee_configs.yaml).
Total parameters and those of every single layer must agree; for plain families also the FLOPs of a forward
and what a real cache holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from moe_plan.api import load
from moe_plan.estimate import flops
from moe_plan.estimate.params import is_parameter

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

# Lists of a kind for each layer, which the config.json spell out.
LAYER_TYPES = {
    "gemma-4-26b-a4b": ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(30)],
    "granite-4.0-h-tiny": ["attention" if i % 10 == 5 else "mamba" for i in range(40)],
    "lfm2-8b-a1b": ["full_attention" if i in (2, 6, 10, 14, 18, 21) else "conv" for i in range(24)],
    "minimax-text-01": ["full_attention" if i % 8 == 7 else "linear_attention" for i in range(80)],
}


@dataclass(frozen=True)
class Release:
    """A shipped model, the configuration class of transformers, and what its config.json says."""

    name: str
    config: str
    facts: dict[str, Any] = field(repr=False)
    head: str = "ForCausalLM"
    layers: str = "model.layers"
    surplus: int = 0
    """Parameters of a layer that the class allocates and the release does not hold."""

    def build(self, **overrides: object) -> Any:
        config = getattr(transformers, self.config)(**(self.facts | overrides))
        family = self.config.removesuffix("Config").removesuffix("Text")
        with torch.device("meta"):
            return getattr(transformers, family + self.head)(config)


def read_releases() -> dict[str, Release]:
    entries = yaml.safe_load(Path(__file__).with_name("referee_configs.yaml").read_text(encoding="utf-8"))
    releases: dict[str, Release] = {}
    for name, entry in entries.items():
        base = releases.get(entry.pop("of", ""))
        if name in LAYER_TYPES:
            entry["facts"]["layer_types"] = LAYER_TYPES[name]
        if base is not None:
            entry["facts"] = base.facts | entry["facts"]
        releases[name] = replace(base, name=name, **entry) if base else Release(name, **entry)
    return releases


BY_NAME = read_releases()


def counted_by_layer(name: str) -> dict[int, int]:
    """Parameters of each decoder layer by our inventory."""
    sums: dict[int, int] = {}
    for block in load(name).inventory.blocks:
        if block.part == "decoder":
            each = sum(w.copies * w.elements for w in block.weights if is_parameter(w))
            sums |= dict.fromkeys(block.layers, each)
    return dict(sorted(sums.items()))


def numel(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", BY_NAME)
def test_parameters(name):
    """`parameters()` gives tied tensors once and no buffers, as total_params does."""
    release = BY_NAME[name]
    built = release.build()
    layers = built.get_submodule(release.layers)
    theirs = {index: numel(layer) - release.surplus for index, layer in enumerate(layers)}
    assert counted_by_layer(name) == theirs
    assert load(name).total_params == numel(built) - release.surplus * len(theirs)


# Families whose forward runs on the meta device with exactly top-k experts and plain attention.
PLAIN = (
    "llama-3.1-8b",
    "mixtral-8x7b",
    "qwen1.5-moe-a2.7b",
    "qwen3-30b-a3b",
    "olmoe-1b-7b",
    "granite-3.0-1b-a400m",
    "gpt-oss-20b",
    "deepseek-v2-lite",
)
TOKENS = 128


def forward(built: Any, tokens: int, *, use_cache: bool) -> Any:
    """A forward over `tokens` tokens; to make a mask itself, transformers would look into empty tensors."""
    with torch.device("meta"), torch.no_grad():
        ids, mask = torch.zeros((1, tokens), dtype=torch.long), torch.zeros((1, 1, tokens, tokens))
        return built.eval()(input_ids=ids, attention_mask=mask, use_cache=use_cache)


def build_plain(name: str) -> Any:
    return BY_NAME[name].build(attn_implementation="eager", experts_implementation="batched_mm")


@pytest.mark.parametrize("name", PLAIN)
def test_flops(name):
    """torch's counter on a whole forward: no causal halving, MLA expanded, logits for every token."""
    from torch.utils.flop_counter import FlopCounterMode

    built = build_plain(name)
    with FlopCounterMode(display=False) as counter:
        forward(built, TOKENS, use_cache=False)
    terms = flops.flop_terms(load(name).inventory)
    assert terms.per_token == 0
    assert counter.get_total_flops() == terms.weights * TOKENS + terms.quadratic * TOKENS**2


@pytest.mark.parametrize("name", PLAIN)
def test_cache(name):
    """What a real cache holds after a prefill of 5 tokens, in elements."""
    cached = forward(build_plain(name), 5, use_cache=True).past_key_values
    elements = sum(layer.keys.numel() + layer.values.numel() for layer in cached.layers)
    assert load(name).kv_bytes(5, "bf16") == 2 * elements
