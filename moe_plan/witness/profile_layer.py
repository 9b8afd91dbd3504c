"""The layers that a profile compares: a model's sparse layer made narrower, and its two dense twins.

Only widths are smaller: experts, choices and the router are those of the published model, since what
sparsity costs follows from them. A dense twin is the same layer with one expert, which every token uses, so
that all three run through the same code and differ in sparsity alone. No torch here: what is too large is
refused before it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.anatomy.ffn import ffn_body
from moe_plan.plan.profiling import TWINS, Size
from moe_plan.replica.shrink import LADDER, largest_scale, shrink
from moe_plan.spec.ffn import Router

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.anatomy.inventory import Weight
    from moe_plan.plan.profiling import Twin
    from moe_plan.plan.routed_layers import Routed
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.model import ModelSpec, Norm

DEFAULT_BYTES = 256 << 20
"""Weights of the sparse layer where nobody chose a scale: several times what the caches of a core hold, and
little enough that its dense twin of equal size gets through 4,096 tokens in seconds."""
ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2}
_LARGEST_ITEM = 8
_FRIENDLY = 8


class Layers(NamedTuple):
    """The three blocks, and what surrounds them."""

    sparse: MoeFfn
    active: MoeFfn
    total: MoeFfn
    hidden: int
    vocab: int
    norm: Norm

    def block(self, twin: Twin) -> MoeFfn:
        """That layer's block."""
        return {"sparse": self.sparse, "active": self.active, "total": self.total}[twin]

    def weights(self, twin: Twin) -> tuple[Weight, ...]:
        """That layer's tensors."""
        return ffn_body(self.block(twin), self.hidden, self.vocab).weights

    def size(self, twin: Twin) -> Size:
        """Parameters of that layer."""
        trained = [weight for weight in self.weights(twin) if weight.buffer is None]
        return Size(
            self.block(twin).width,
            sum(weight.copies * weight.elements for weight in trained),
            sum(weight.used * weight.elements for weight in trained),
        )

    def weight_bytes(self, twin: Twin, dtype: str) -> int:
        """Bytes of that layer's tensors; those of another type are counted with the largest there is."""
        return sum(
            weight.copies * weight.elements * (ITEMSIZE[dtype] if weight.buffer is None else _LARGEST_ITEM)
            for weight in self.weights(twin)
        )

    def all_bytes(self, dtype: str) -> int:
        """Of all three layers."""
        return sum(self.weight_bytes(twin, dtype) for twin in TWINS)


def layers_at(spec: ModelSpec, routed: Routed, scale: Fraction) -> Layers:
    """The three layers of `routed` at `scale`."""
    return in_widths_of(shrink(spec, scale).spec, routed)


def in_widths_of(smaller: ModelSpec, routed: Routed) -> Layers:
    """As many experts and choices as published, in the widths of `smaller`."""
    narrow = smaller.ffn[routed.name]
    assert narrow.kind == "moe"
    kept = {name: getattr(routed.block, name) for name in ("experts", "top_k", "zero_experts", "router")}
    sparse = narrow.model_copy(update=kept)
    alone = Layers(sparse, sparse, sparse, smaller.hidden, smaller.vocab, smaller.norm)
    size = alone.size("sparse")
    return alone._replace(
        active=_dense(sparse, smaller.hidden, size.active_parameters),
        total=_dense(sparse, smaller.hidden, size.parameters),
    )


def _dense(sparse: MoeFfn, hidden: int, parameters: int) -> MoeFfn:
    """One expert of about as many parameters, as wide as a multiple of eight allows."""
    each = (3 if sparse.gated else 2) * hidden
    width = max(_FRIENDLY, round(parameters / (each * _FRIENDLY)) * _FRIENDLY)
    alone = {"experts": 1, "top_k": 1, "zero_experts": 0, "router": Router(), "bias": False}
    beside = {"latent": None, "shared_width": None, "shared_gate": False, "output_bias": False}
    return sparse.model_copy(update={**alone, **beside, "width": width})


def default_scale(spec: ModelSpec, routed: Routed, dtype: str) -> Fraction:
    """The largest step at which the sparse layer is within DEFAULT_BYTES."""

    def bytes_of(smaller: ModelSpec) -> int:
        return in_widths_of(smaller, routed).weight_bytes("sparse", dtype)

    return largest_scale(spec, DEFAULT_BYTES, bytes_of) or LADDER[-1]
