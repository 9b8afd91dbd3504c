"""Operations that cost no FLOPs by the convention of this project: nothing in them is a matrix product.

Elementwise arithmetic, reductions, softmax, views, copies, lookups and sorting.
"""

from __future__ import annotations

_NAMES = """
_fused_rms_norm _local_scalar_dense _log_softmax _reshape_alias _softmax _to_copy _unsafe_view abs add add_ alias
all amax amin any arange argsort as_strided bernoulli bincount bitwise_and bitwise_and_ bitwise_not bitwise_or
bitwise_or_ bucketize cat ceil clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ clone constant_pad_nd copy_
cos cumsum detach div div_ embedding empty empty_like empty_strided eq erf exp exp_ expand expm1 fill_ flip floor
floor_divide full full_like gather ge gelu gt histc index index_add index_add_ index_copy_ index_fill_ index_put
index_put_ index_select is_nonzero isfinite isinf isnan le lift_fresh linspace log log1p log_ logaddexp
logical_and logical_not logical_or logsumexp lt masked_fill masked_fill_ masked_select max maximum mean min
minimum mul mul_ native_layer_norm ne neg neg_ new_empty new_empty_strided new_full new_ones new_zeros nonzero
ones ones_like permute pow pow_ prod rand randint randn randperm reciprocal reciprocal_ relu relu_ remainder
remainder_ repeat repeat_interleave resize_ rsqrt rsqrt_ scalar_tensor scatter scatter_ scatter_add scatter_add_ searchsorted
select sigmoid sigmoid_ sign silu silu_ sin slice slice_scatter softplus sort split split_with_sizes sqrt sqrt_
square squeeze stack std sub sub_ sum t tanh tanh_ tile topk transpose tril tril_ triu triu_ unbind unfold
uniform_ unsqueeze var var_mean view view_as where zero_ zeros zeros_like
"""

FREE = frozenset(f"aten.{name}" for name in _NAMES.split())
