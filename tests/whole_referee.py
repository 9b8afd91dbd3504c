"""A whole model of transformers beside our replica: the same sizes, the same weights, the same tokens.

The spec of a catalogue model is shrunk, both sides are built from it, and every element of every tensor of ours
is given to exactly one place of theirs. Then a prefill and greedy steps through both caches must agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import transformers
from whole_case import Case, Kept, Ours, Source, Table

from moe_plan.anatomy.build import inventory
from moe_plan.estimate.params import total_params
from moe_plan.replica import build
from moe_plan.replica.cache import Cache
from moe_plan.replica.model import Replica
from moe_plan.replica.shrink import TOKENS, shrink
from moe_plan.replica.unfold import block_names, layers_of
from moe_plan.spec.model import ModelSpec

LAYERS = 2
BATCH, SOURCE, STEPS = 2, 11, 8


class Run(NamedTuple):
    """Logits of a prefill [B, T, V], then of each greedy step [B, V]; the tokens; the cache after each."""

    prefill: torch.Tensor
    steps: torch.Tensor
    tokens: torch.Tensor
    held: list[list[int]]
    """Elements of each layer after the prefill and after each step."""


class Pair(NamedTuple):
    """Both models, ready to run."""

    case: Case
    spec: ModelSpec
    ours: Replica
    theirs: Any
    surplus: int
    """Elements of theirs that no element of ours was given to."""


def pair(case: Case, *, odd: bool) -> Pair:
    """Both sides of `case` at the small size, with ours' random weights in both."""
    spec = shrunk(case, odd=odd)
    ours = build.materialise(build.on_meta(spec), torch.device("cpu"), case.seed)
    theirs = built(case, spec)
    surplus = copied(case, spec, ours, theirs)
    return Pair(case, spec, ours, theirs, surplus)


def shrunk(case: Case, *, odd: bool) -> ModelSpec:
    """The spec at the size of the comparison."""
    return case.tied(felt(shrink(case.full(), case.scale, odd=odd, keep_layers=LAYERS).spec))


def felt(spec: ModelSpec) -> ModelSpec:
    """Limits so near that what random weights make runs into them; no release's random numbers would."""
    near = {"clip": 0.5, "limit": 0.5}

    def blocks(given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: block.model_copy(update={key: at for key, at in near.items() if getattr(block, key, None)})
            for name, block in given.items()
        }

    return spec.model_copy(update={"attention": blocks(spec.attention), "ffn": blocks(spec.ffn)})


def built(case: Case, spec: ModelSpec) -> Any:
    """Their model at the sizes of `spec`: float32, the readable attention and experts."""
    config = getattr(transformers, case.config or f"{case.family}Config")(**case.facts(spec))
    config._experts_implementation = "eager"
    made = getattr(transformers, case.family + case.head)
    return made._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()


def copied(case: Case, spec: ModelSpec, ours: Replica, theirs: Any) -> int:
    """Ours' weights put into theirs; how many elements of theirs had none.

    Every element of ours goes to exactly one place: shown with the elements' numbers in place of weights.
    """
    mine = dict(ours.tensors())
    sizes = [tensor.numel() for tensor in mine.values()]
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    numbers = {
        name: torch.arange(start, start + tensor.numel(), dtype=torch.float64).view(tensor.shape)
        for (name, tensor), start in zip(mine.items(), starts, strict=False)
    }
    state = {name: t for name, t in theirs.state_dict().items() if not name.endswith(case.computed)}
    table = case.tensors(spec)
    once = {tensor.data_ptr(): name for name, tensor in state.items()}
    places = torch.cat([_given(case, table, numbers, name).flatten() for name in once.values()])
    used = places[~places.isnan()].long().bincount(minlength=starts[-1])
    wrong = [name for name, n in numbers.items() if not bool((used[n.long()] == 1).all())]
    assert not wrong, f"not used exactly once: {wrong}"
    for name, tensor in state.items():
        given = _given(case, table, mine, name)
        assert given.numel() == tensor.numel(), (name, given.shape, tensor.shape)
        tensor.copy_(given.reshape(tensor.shape).nan_to_num(nan=0.0))
    return int(places.isnan().sum())


def _given(case: Case, table: Table, mine: Ours, name: str) -> torch.Tensor:
    """What ours has for `name` of theirs."""
    for part, where in case.stacks.items():
        found = re.fullmatch(rf"{re.escape(where)}\.(\d+)\.(.+)", name)
        if found is not None:
            prefix = f"{part}.{found[1]}."
            return _made(table[found[2]], _within(mine, prefix))
    return _made(case.outer[name], _within(mine, "decoder.") | dict(mine))


def _made(source: Source, ours: Ours) -> torch.Tensor:
    return ours[source] if isinstance(source, str) else source(ours)


def _within(mine: Ours, prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in mine.items() if name.startswith(prefix)}


def tokens(spec: ModelSpec, length: int, seed: int) -> torch.Tensor:
    """Random ids [BATCH, length]."""
    return torch.randint(0, spec.vocab, (BATCH, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run_ours(both: Pair) -> Run:
    """Ours: the prompt at once, then greedy tokens through its cache."""
    spec, replica = both.spec, both.ours
    source = tokens(spec, SOURCE, 2) if spec.parts else None
    cache = Cache(replica, BATCH, TOKENS + STEPS)
    held: list[list[int]] = []

    def step(ids: torch.Tensor) -> torch.Tensor:
        first = cache.tokens == 0
        logits = replica(ids, cache, source_BS=source if first else None)
        held.append([both.case.kept(kept) for kept in _kept(spec, cache)])
        return logits

    return _greedy(spec, step, held)


@torch.no_grad()
def run_theirs(both: Pair) -> Run:
    """Theirs: the same through the cache that the model makes itself."""
    spec, model = both.spec, both.theirs
    past: dict[str, Any] = {}
    start = 0
    ids_name = "input_ids"
    if spec.parts:
        ids_name = "decoder_input_ids"
        past["encoder_outputs"] = model.get_encoder()(input_ids=tokens(spec, SOURCE, 2))
    held: list[list[int]] = []

    def step(ids: torch.Tensor) -> torch.Tensor:
        nonlocal start
        if both.case.positions:
            past["position_ids"] = torch.arange(start, start + ids.shape[1])[None]
        out = model(**{ids_name: ids}, use_cache=True, **past)
        start += ids.shape[1]
        past["past_key_values"] = out.past_key_values
        held.append(_by_layer(elements(out.past_key_values), len(layers_of(spec.layers))))
        return out.logits

    return _greedy(spec, step, held)


def _greedy(spec: ModelSpec, step: Callable[[torch.Tensor], torch.Tensor], held: list[list[int]]) -> Run:
    prefill = step(tokens(spec, TOKENS, 1))
    steps, chosen = [], [prefill[:, -1].argmax(-1)]
    for _ in range(STEPS):
        steps.append(step(chosen[-1][:, None])[:, -1])
        chosen.append(steps[-1].argmax(-1))
    return Run(prefill, torch.stack(steps, 1), torch.stack(chosen, 1), held)


def _kept(spec: ModelSpec, cache: Cache) -> Iterator[Kept]:
    """What each decoder layer of ours holds now."""
    by_layer: dict[int, dict[str, int]] = {}
    for state in cache.held():
        by_layer.setdefault(state.layer, {})[state.name] = state.elements
    for index, run in enumerate(layers_of(spec.layers)):
        mixers = tuple(spec.attention[name] for name in block_names(run.attention))
        yield Kept(mixers, by_layer.get(index, {}), cache.tokens, cache.batch)


def elements(cache: Any) -> list[int]:
    """Elements of each layer of a cache of transformers: keys, values, states, whatever they are called."""
    if isinstance(cache, transformers.EncoderDecoderCache):
        own, cross = elements(cache.self_attention_cache), elements(cache.cross_attention_cache)
        return [a + b for a, b in zip(own, cross, strict=True)]
    states = [list(_states(vars(layer))) for layer in cache.layers]
    # MiniMax keeps the states of its recurrent layers beside those of attention.
    for layer, state in enumerate(getattr(cache, "linear_cache", ())):
        states[layer] += _states([state])
    return [sum({t.data_ptr(): t.numel() for t in own}.values()) for own in states]


def _by_layer(held: list[int], layers: int) -> list[int]:
    """Sums over the attention blocks of a layer, each of which is a layer of the cache (LongCat has two)."""
    each = len(held) // layers
    assert each * layers == len(held)
    return [sum(held[first : first + each]) for first in range(0, len(held), each)]


def _states(kept: Any) -> Iterator[torch.Tensor]:
    """Tensors of numbers in what a layer of a cache holds, lists and mappings within it too."""
    if isinstance(kept, torch.Tensor):
        # Lengths are single integers.
        if kept.is_floating_point() and kept.ndim > 1:
            yield kept
    elif isinstance(kept, Mapping | list | tuple):
        for inner in kept.values() if isinstance(kept, Mapping) else kept:
            yield from _states(inner)


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference, relative to the largest value of theirs."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def parameters(model: Any) -> int:
    """Trained elements of a torch module, tied tensors once."""
    return sum(parameter.numel() for parameter in model.parameters())


def predicted_parameters(spec: ModelSpec) -> int:
    """The calculator's count."""
    return total_params(inventory(spec))
