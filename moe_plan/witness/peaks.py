"""Peak bytes of a forward as torch allocated them: of the whole, and of every block of every layer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional

from moe_plan.replica.attention.moa import AttentionMixture
from moe_plan.replica.cache import Cache
from moe_plan.replica.call import Options
from moe_plan.replica.ffn.moe import Moe
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.witness.moments.stack import layers_of, modules_of
from moe_plan.witness.run import tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from moe_plan.replica.model import Replica
    from moe_plan.witness.moments.blocks import Counts
    from moe_plan.witness.moments.tape import Module
    from moe_plan.witness.run import Shape


class Peaks(NamedTuple):
    """Most bytes that were live beside weights, cache and inputs."""

    whole: int
    inside: dict[Module, int]
    """Of each block alone: what it allocated itself, the tables and keys that it left for later ones too."""
    allocator: int | None = None
    """The whole as CUDA's own allocator counts it; None on other devices."""


def measured_peaks(
    replica: Replica, shape: Shape, seed: int, logits: Literal["all", "last"]
) -> tuple[Peaks, Peaks]:
    """Of a prefill and of the decode step after it."""
    peaks = []
    for forward in prefill_and_decode(replica, shape, seed, Options(logits=logits)):
        inside: dict[Module, int] = {}
        handles = [
            handle
            for name, module in modules_in(replica).items()
            for handle in _tracked(module, name, inside)
        ]
        with torch.no_grad(), AllocationTracker() as tracker:
            forward()
        for handle in handles:
            handle.remove()
        peaks.append(Peaks(tracker.peak_bytes, inside))
    if replica.embedding.is_cuda:
        # Runs of their own: what follows storages keeps none of them alive, but a hook could.
        again = prefill_and_decode(replica, shape, seed, Options(logits=logits))
        device = replica.embedding.device
        peaks = [
            peak._replace(allocator=_cuda_peak(run, device)) for peak, run in zip(peaks, again, strict=True)
        ]
    return peaks[0], peaks[1]


def _cuda_peak(forward: Callable[[], object], device: torch.device) -> int:
    """Bytes by which a forward raised what CUDA's allocator has handed out."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.no_grad():
        forward()
    return torch.cuda.max_memory_allocated(device) - before


def routed_rows(
    replica: Replica, shape: Shape, seed: int
) -> tuple[dict[Module, Counts], dict[Module, Counts]]:
    """Rows of each choice of every block that routes, in a prefill and in the decode step after it."""
    counts = []
    for forward in prefill_and_decode(replica, shape, seed, Options(logits="last")):
        rows: dict[Module, Counts] = {}
        handles = [
            handle
            for name, module in modules_in(replica).items()
            if isinstance(module, Moe | AttentionMixture)
            for handle in (_counted(module, name, rows),)
        ]
        with torch.no_grad():
            forward()
        for handle in handles:
            handle.remove()
        counts.append(rows)
    return counts[0], counts[1]


def modules_in(replica: Replica) -> dict[Module, nn.Module]:
    """Every block of every layer, under the name that its prediction has."""
    spec = replica.spec
    found: dict[Module, nn.Module] = {}
    for part, module in (("decoder", replica.decoder), *replica.encoders.items()):
        runs = layers_of((spec if part == "decoder" else spec.parts[part]).layers)
        layers: Any = module.layers
        for index, (run, layer) in enumerate(zip(runs, layers, strict=True)):
            blocks = (*layer.mixers, *layer.ffns)
            found.update(zip(modules_of(part, index, run), blocks, strict=True))
    return found


def prefill_and_decode(
    replica: Replica, shape: Shape, seed: int, options: Options
) -> Iterator[Callable[[], Tensor]]:
    """A prefill, then a decode step on the same cache: each to be called before the next is asked for."""
    cache = Cache(replica, shape.sequences, shape.tokens + 1)
    ids_BT = tokens_of(replica, shape._replace(steps=1), seed)
    prompt_BT, next_B1 = ids_BT[:, :-1].contiguous(), ids_BT[:, -1:].contiguous()
    yield lambda: replica(prompt_BT, cache, options, prompt_BT if replica.encoders else None)
    yield lambda: replica(next_B1, cache, options)


def _tracked(module: nn.Module, name: Module, inside: dict[Module, int]) -> Iterator[RemovableHandle]:
    tracker = AllocationTracker()

    def enter(_module: nn.Module, _given: tuple[Any, ...]) -> None:
        tracker.__enter__()  # type: ignore[no-untyped-call]  # torch declares no types

    def leave(_module: nn.Module, _given: tuple[Any, ...], _out: Tensor) -> None:
        tracker.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        inside[name] = tracker.peak_bytes

    yield module.register_forward_pre_hook(enter)
    yield module.register_forward_hook(leave)


def _counted(module: Moe | AttentionMixture, name: Module, rows: dict[Module, Counts]) -> RemovableHandle:
    choices = module.choices if isinstance(module, Moe) else module.spec.experts

    def count(chosen_TK: Tensor) -> None:
        rows[name] = tuple(chosen_TK.reshape(-1).bincount(minlength=choices).tolist())

    if isinstance(module, Moe):
        return module.router.register_forward_hook(lambda _module, _given, choice: count(choice.experts_TK))
    router, top_k = module.router, module.spec.top_k

    def choose(_module: nn.Module, given: tuple[Any, ...]) -> None:
        count(functional.linear(given[0], router).float().topk(top_k).indices)

    return module.register_forward_pre_hook(choose)
