"""A whole model of transformers beside our replica: the same sizes, the same weights, the same tokens.

The spec of a catalogue model is shrunk, both sides are built from it, and every element of every tensor of ours
is given to exactly one place of theirs. Then a prefill and greedy steps through both caches must agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
import transformers

from moe_plan.anatomy.build import inventory
from moe_plan.api import load
from moe_plan.estimate.params import total_params
from moe_plan.replica import build
from moe_plan.replica.cache import Cache
from moe_plan.replica.model import Replica
from moe_plan.replica.shrink import TOKENS, shrink
from moe_plan.replica.unfold import block_names, layers_of
from moe_plan.spec.attention import AnyAttention
from moe_plan.spec.model import ModelSpec

SCALE = Fraction(1, 64)
LAYERS = 2
BATCH, SOURCE, STEPS = 2, 11, 8
SEED = 3

Ours = Mapping[str, torch.Tensor]
"""Tensors of ours by their names in the inventory: those of one layer, or those outside the layers."""
Source = str | Callable[[Ours], torch.Tensor]
"""One of our tensors, or what is made of several by moving elements; NaN where theirs has more than ours."""
Table = dict[str, Source]
"""A name of theirs, without the number of its layer, and what belongs there; shapes of equal size are equal."""

OUTER: Table = {
    "model.embed_tokens.weight": "embedding",
    "model.norm.weight": "norm.final.weight",
    "lm_head.weight": lambda ours: ours.get("lm_head", ours["embedding"]),
}


class Kept(NamedTuple):
    """What one of our decoder layers holds, all sequences together."""

    mixers: tuple[AnyAttention, ...]
    elements: Mapping[str, int]
    tokens: int
    batch: int


def all_kept(kept: Kept) -> int:
    """Where theirs holds what ours holds."""
    return sum(kept.elements.values())


def one_less_than_window(kept: Kept) -> int:
    """A sliding layer of transformers drops the oldest token after a step; ours when the next one comes."""
    (mixer,) = kept.mixers
    limit = getattr(mixer, "window", None) or getattr(mixer, "chunk", None)
    if limit is None or kept.tokens < limit:
        return all_kept(kept)
    return all_kept(kept) // limit * (limit - 1)


@dataclass(frozen=True)
class Case:
    """A family of transformers, and the spec that should be the same model."""

    family: str
    """Of the classes `familyConfig` and `familyForCausalLM`."""
    model: str
    """Name in the catalogue, where there is no `spec`."""
    facts: Callable[[ModelSpec], Mapping[str, Any]]
    """Keyword arguments of their configuration, from the shrunk spec."""
    tensors: Callable[[ModelSpec], Table]
    """Their tensors of a layer; every layer takes those that it has."""
    outer: Table = field(default_factory=lambda: OUTER)
    stacks: Mapping[str, str] = field(default_factory=lambda: {"decoder": "model.layers"})
    """Where the layers of each of our stacks are in theirs."""
    config: str = ""
    """Class of their configuration, where it is not `familyConfig`."""
    head: str = "ForCausalLM"
    spec: Callable[[], ModelSpec] | None = None
    """For families that the catalogue has no model of, or to change what a model's own class cannot do."""
    kept: Callable[[Kept], int] = all_kept
    """Elements that theirs should hold for what ours holds."""
    odd: bool = True
    """Whether their class can be built with odd, unequal sizes."""
    scale: Fraction = SCALE
    tied: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
    """Sizes that their class cannot set apart, made one in the shrunk spec."""
    positions: bool = False
    """Whether positions must be given: theirs counts the tokens of a layer that caches none."""
    computed: tuple[str, ...] = ()
    """How the names of theirs end that are no weights, but made by the class from its configuration."""
    surplus: str = ""
    """Why theirs has elements that ours has not; without it, it may have none."""
    quirks: tuple[str, ...] = ()
    """What is known to differ between the class and the release, and what was done about it."""

    def full(self) -> ModelSpec:
        """The spec at its published size."""
        return self.spec() if self.spec is not None else load(self.model).spec


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
    spec = case.tied(shrink(case.full(), case.scale, odd=odd, keep_layers=LAYERS).spec)
    ours = build.materialise(build.on_meta(spec), torch.device("cpu"), SEED)
    theirs = built(case, spec)
    surplus = copied(case, spec, ours, theirs)
    return Pair(case, spec, ours, theirs, surplus)


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
    for own, state in zip(states, getattr(cache, "linear_cache", ()), strict=False):
        own += _states([state])
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
