"""Which class an aten operation belongs to: what its time depends on."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "product",
    "batched-product",
    "elementwise",
    "mask",
    "transcendental",
    "softmax",
    "reduction",
    "gather",
    "scatter",
    "sort",
    "convolution",
    "view",
]

PRODUCTS = frozenset({"mm", "addmm", "addmm_", "mv", "addmv"})
BATCHED = frozenset({"bmm", "baddbmm", "baddbmm_"})
_NAMES: dict[Kind, str] = {
    "mask": "bitwise_and bitwise_not bitwise_or_ eq ge gt le logical_or_ lt masked_fill masked_fill_ ne "
    "where",
    "transcendental": "cos exp exp_ expm1 gelu gelu_ log log1p log_ logaddexp sigmoid sigmoid_ silu silu_ "
    "sin sin_ softplus tanh tanh_",
    "softmax": "_log_softmax _softmax logsumexp",
    "reduction": "all amax amin any argmax max mean min native_layer_norm sum",
    "gather": "embedding gather index index_select",
    "scatter": "index_add index_add_ index_copy_ index_put index_put_ scatter scatter_ scatter_add_",
    "sort": "argsort bincount cumsum sort topk",
    "convolution": "convolution",
    "view": "_reshape_alias _unsafe_view alias as_strided detach empty empty_like empty_strided expand "
    "lift_fresh new_empty permute select slice split split_with_sizes squeeze t transpose unbind unfold "
    "unsqueeze view",
}
_KINDS: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def kind_of(name: str) -> Kind:
    """The class of the operation of that name; what moves its elements once and computes little otherwise."""
    if name in PRODUCTS:
        return "product"
    if name in BATCHED:
        return "batched-product"
    return _KINDS.get(name, "elementwise")
