"""A replica of which one rank's experts have memory; everything else is held whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from moe_plan.replica.block import Block
from moe_plan.replica.ffn.moe import Experts, Moe
from moe_plan.replica.parallel.expert_parallel import ExpertParallel, Setting
from moe_plan.replica.parallel.ownership import bounds

if TYPE_CHECKING:
    from moe_plan.replica.model import Replica
    from moe_plan.replica.parallel.exchange import Exchange

PER_EXPERT = ("up", "down", "up_bias", "down_bias")
"""Tensors of `Experts` whose first dimension is the expert."""


def materialise_shard(replica: Replica, device: torch.device, seed: int, rank: int, ranks: int) -> Replica:
    """Give `replica` the weights that `build.materialise` gives it, less the experts of other ranks.

    At most one layer's experts are whole at a time.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    for module in replica.modules():
        if isinstance(module, Block):
            module.materialise(device, generator)
        if isinstance(module, Experts):
            _keep(module, rank, ranks)
    return replica


def _keep(experts: Experts, rank: int, ranks: int) -> None:
    limits = bounds(len(experts.up), ranks)
    for name in PER_EXPERT:
        tensor = getattr(experts, name)
        if tensor is not None:
            kept = tensor[limits[rank] : limits[rank + 1]].clone()
            setattr(experts, name, nn.Parameter(kept, requires_grad=False))
    experts.prepare()


def sparse_layers(replica: Replica) -> dict[str, Moe]:
    """Every mixture of experts of `replica` under the name of its module, in the order of modules."""
    return {name: module for name, module in replica.named_modules() if isinstance(module, Moe)}


def spread(replica: Replica, exchange: Exchange, setting: Setting) -> list[ExpertParallel]:
    """Have every sparse layer of `replica` computed by all ranks; what computes them, in the same order."""
    layers = []
    for name, block in sparse_layers(replica).items():
        layer = ExpertParallel(exchange, bounds(block.spec.experts, exchange.seat.ranks), name, setting)
        block.run = layer
        layers.append(layer)
    return layers
