"""T5's relative positions: distances fall into buckets, fine near by and logarithmic far away.

arXiv 1910.10683, section 2.1. Legend: H heads, T queries, S keys.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def position_bias(table_KH: Tensor, queries: range, keys: range, distance: int, *, causal: bool) -> Tensor:
    """Bias of each head for each query and key, [H, T, S]."""
    device = table_KH.device
    query = torch.arange(queries.start, queries.stop, device=device)[:, None]
    key = torch.arange(keys.start, keys.stop, device=device)
    return table_KH[_bucket(key - query, table_KH.shape[0], distance, causal=causal)].permute(2, 0, 1)


def _bucket(offset_TS: Tensor, buckets: int, distance: int, *, causal: bool) -> Tensor:
    """Bucket of each offset (key less query): half of them exact, half logarithmic up to `distance`."""
    base = torch.zeros_like(offset_TS)
    if causal:
        apart = (-offset_TS).clamp_(min=0)
    else:
        buckets //= 2
        base = (offset_TS > 0).to(torch.long) * buckets
        apart = offset_TS.abs()
    exact = max(buckets // 2, 1)
    far = torch.log(apart.clamp(min=1).float() / exact) / math.log(max(distance, exact + 1) / exact)
    bucket = (exact + far * (buckets - exact)).long().clamp_(max=max(buckets - 1, 0))
    return base + torch.where(apart < exact, apart, bucket)
