"""Operations that cost no FLOPs by the convention of this project: nothing in them is a matrix product.

Elementwise arithmetic, reductions, softmax, views, copies, lookups and sorting; in place too.
"""

from __future__ import annotations

_NAMES = """
_fused_rms_norm _local_scalar_dense _log_softmax _reshape_alias _softmax _to_copy _unsafe_view abs add
addcdiv addcmul alias all amax amin any arange argsort as_strided atan bernoulli bincount bitwise_and
bitwise_not bitwise_or bucketize cat ceil clamp clamp_max clamp_min clone constant_pad_nd copy cos cumsum
detach div embedding empty empty_like empty_strided eq erf erfinv exp expand expm1 fill flip floor
floor_divide full full_like gather ge gelu gt hardtanh histc index index_add index_copy index_fill index_put
index_select is_nonzero isfinite isinf isnan le lerp lift_fresh linspace log log1p logaddexp logical_and
logical_not logical_or logsumexp lt masked_fill masked_select max maximum mean min minimum mul
native_layer_norm ne neg new_empty new_empty_strided new_full new_ones new_zeros nonzero ones ones_like
permute pow prod rand randint randn randperm reciprocal relu remainder repeat repeat_interleave resize rsqrt
scalar_tensor scatter scatter_add searchsorted select sigmoid sign silu sin slice slice_scatter softplus
sort split split_with_sizes sqrt square squeeze stack std sub sum t tanh tile topk transpose tril triu
unbind unfold uniform unsqueeze var var_mean view view_as where xlogy zero zeros zeros_like
"""

_FREE = frozenset(f"aten.{name}" for name in _NAMES.split())


def is_free(name: str) -> bool:
    """Whether `name`, as `aten.add` or `aten.add_`, is on the list."""
    return name.rstrip("_") in _FREE
