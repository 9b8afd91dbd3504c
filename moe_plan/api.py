"""One model with all its answers: what the commands call and what `moe_plan.load` returns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_plan.anatomy.build import inventory as build_inventory
from moe_plan.errors import InputError, Problem
from moe_plan.estimate import cache, flops, params, reads, weights
from moe_plan.estimate.formats import FORMATS
from moe_plan.text import did_you_mean

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.anatomy.inventory import Inventory
    from moe_plan.spec.model import ModelSpec


@dataclass(frozen=True)
class Model:
    """A spec with its inventory. Counts are exact integers; bytes, FLOPs and tokens are in base units.

    `weights` names a storage: `native`, a further checkpoint of the spec, or one of FORMATS.
    `kv` names one of `cache.KV_FORMATS`. Unknown names raise InputError; contexts, batches and budgets that
    are no whole numbers TypeError, negative ones ValueError.
    """

    fields: ModelSpec
    """The spec's fields, already validated: for a catalogue model read from the lock, without its class."""
    inventory: Inventory

    def __repr__(self) -> str:
        return f"Model({self.name!r})"

    @property
    def spec(self) -> ModelSpec:
        """The spec itself, validated anew where `fields` came from the lock."""
        from moe_plan.spec.catalogue import validated  # noqa: PLC0415  counting needs no pydantic

        return validated(self.fields)

    @property
    def name(self) -> str:
        """The model's name, as its spec gives it."""
        return self.fields.name

    @property
    def total_params(self) -> int:
        """Every trained tensor of the text model, tied tensors once."""
        return params.total_params(self.inventory)

    @property
    def active_params(self) -> int:
        """Parameters on one token's path, embedding table included."""
        return params.active_params(self.inventory)

    @property
    def active_compute_params(self) -> int:
        """`active_params` less the embedding table where it is only a lookup."""
        return params.active_compute_params(self.inventory)

    @property
    def active_body_params(self) -> int:
        """`active_params` less the embedding table and the output head."""
        return params.active_body_params(self.inventory)

    @property
    def components(self) -> dict[str, int]:
        """Parameters of the text model by component."""
        return params.components(self.inventory)

    @property
    def parts(self) -> dict[str, dict[str, int]]:
        """Parameters of the parts outside the text model (MTP, towers), by component."""
        return params.part_components(self.inventory)

    def storage(self, name: str = weights.NATIVE) -> weights.Storage:
        """The formats that `--weights NAME` stands for."""
        if name == weights.NATIVE:
            return weights.checkpoint_storage(name, self.fields.native)
        if not isinstance(name, str):
            message = f"weights must be a name, not {type(name).__name__}"
            raise TypeError(message)
        if name in self.fields.checkpoints:
            return weights.checkpoint_storage(name, self.fields.checkpoints[name])
        if name in FORMATS:
            return weights.uniform_storage(name)
        known = (weights.NATIVE, *self.fields.checkpoints, *FORMATS)
        hint = did_you_mean(name, known)
        message = f"{self.name} has no weight format of this name{hint}; known: {', '.join(known)}"
        raise InputError((Problem("MP302", name, None, None, "weights", message),))

    def weight_bytes(self, weights_name: str = weights.NATIVE) -> int:
        """Bytes of the text model's weights, as a server without speculative decoding holds them."""
        return weights.weight_bytes(self.inventory, self.storage(weights_name))

    def component_bytes(self, weights_name: str = weights.NATIVE) -> dict[str, int]:
        """`weight_bytes` by component."""
        return weights.component_bytes(self.inventory, self.storage(weights_name))

    def checkpoint_bytes(self, weights_name: str = weights.NATIVE) -> int:
        """Bytes of the released files: every part, and the copies that the release repeats."""
        return weights.checkpoint_bytes(self.inventory, self.storage(weights_name))

    def kv_bytes_per_token(self, kv: str = "bf16", context: int = 0) -> int:
        """Bytes that one more token adds to the cache of a sequence of `context` tokens."""
        return cache.kv_bytes_per_token(self.inventory, _kv_format(kv), _whole("context", context, 0))

    def kv_bytes(self, context: int, kv: str = "bf16") -> int:
        """Bytes of cache and recurrent state of one sequence of `context` tokens."""
        return cache.kv_bytes(self.inventory, _whole("context", context, 0), _kv_format(kv))

    def max_context(self, budget_bytes: int, kv: str = "bf16") -> int | None:
        """Longest context of one sequence within `budget_bytes`; None if unbounded, -1 if none fits."""
        return cache.max_context(self.inventory, _whole("budget_bytes", budget_bytes, 0), _kv_format(kv))

    def decode_flops(self, context: int) -> int:
        """FLOPs of the next token at a context of `context` tokens."""
        return flops.decode_flops(self.inventory, _whole("context", context, 0))

    def prefill_flops_per_token(self, context: int) -> Fraction:
        """FLOPs per token, averaged over a causal prefill of `context` tokens."""
        return flops.prefill_flops_per_token(self.inventory, _whole("context", context, 1))

    def training_flops_per_token(self, context: int) -> Fraction:
        """FLOPs per token of a forward and backward pass over `context` tokens."""
        return flops.training_flops_per_token(self.inventory, _whole("context", context, 1))

    def distinct_experts(self, tokens: int) -> float | None:
        """Experts of an MoE layer that `tokens` tokens touch, uniform routing; None in a dense model."""
        return reads.mean_distinct_experts(self.inventory, _whole("tokens", tokens, 1))

    def decode_weight_bytes(self, tokens: int, weights_name: str = weights.NATIVE) -> int:
        """Expected weight bytes read by one decode step over `tokens` sequences."""
        return reads.decode_weight_bytes(
            self.inventory, self.storage(weights_name), _whole("tokens", tokens, 1)
        )


def model(spec: ModelSpec) -> Model:
    """The answers for a spec already at hand."""
    return Model(spec, build_inventory(spec))


def load(reference: str | os.PathLike[str]) -> Model:
    """The model that a catalogue name or a path to a YAML spec refers to.

    Raises InputError (exit code 3) with file, line, column and key for whatever is wrong.
    """
    from moe_plan.spec.catalogue import find  # noqa: PLC0415  keeps `import moe_plan` light

    return checked(model(find(os.fspath(reference))))


def checked(counted: Model) -> Model:
    """`counted`, unless a format rule names a tensor that it does not have: that raises InputError."""
    for storage in (counted.storage(), *map(counted.storage, counted.fields.checkpoints)):
        _check_rules(counted, storage)
    return counted


def models() -> tuple[str, ...]:
    """Names of the shipped models."""
    from moe_plan.spec.catalogue import names  # noqa: PLC0415

    return names()


def _check_rules(counted: Model, storage: weights.Storage) -> None:
    """Single tensors that rules name, `router.bias`, must exist; classes are checked on reading."""
    dotted = {name for _, tensors in storage.rules for name in tensors if "." in name}
    if not dotted:
        return
    known = {
        name
        for block in counted.inventory.blocks
        for weight in block.weights
        for name in (weight.name, weights.unnumbered(weight.name))
    }
    for name in sorted(dotted - known):
        message = f"no tensor of this name for a format{did_you_mean(name, known)}"
        raise InputError((Problem("MP130", counted.name, None, None, f"{storage.name}: {name}", message),))


def _whole(name: str, value: int, least: int) -> int:
    """`value`, if it is a whole number of at least `least`. Raises TypeError or ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{name} must be a whole number, not {type(value).__name__}"
        raise TypeError(message)
    if value < least:
        message = f"{name} must be at least {least}, not {value}"
        raise ValueError(message)
    return value


def _kv_format(name: str) -> str:
    if name not in cache.KV_FORMATS:
        known = ", ".join(cache.KV_FORMATS)
        message = (
            f"no KV cache format of this name{did_you_mean(name, tuple(cache.KV_FORMATS))}; known: {known}"
        )
        raise InputError((Problem("MP303", name, None, None, "kv", message),))
    return name
