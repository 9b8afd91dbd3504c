"""Queries that grow with their position, so that attention stays sharp far out (Llama 4, Mistral Small 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from moe_plan.spec.rope import Temperature


def position_factors(
    temperature: Temperature, positions: range, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Factor on the query at each position: 1 + beta * ln(1 + floor((position + first) / span)), [T]."""
    first = temperature.first
    places = torch.arange(positions.start + first, positions.stop + first, device=device)
    spans = places.div_(temperature.span, rounding_mode="floor").to(torch.float32)
    return spans.add_(1.0).log_().mul_(temperature.beta).add_(1.0).to(dtype)
