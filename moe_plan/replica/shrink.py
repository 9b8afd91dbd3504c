"""A spec made small: the same structure, so that a check of the small model speaks for the large one.

Every kind of block, layer and router is kept; widths, heads and vocabulary shrink with the scale; windows,
chunks and choices shrink so that a run of a few tokens feels them.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import InputError
from moe_plan.replica.shrink_layers import kept_layers
from moe_plan.replica.shrink_lengths import FEWEST_TOKENS
from moe_plan.replica.shrink_resize import resized
from moe_plan.replica.shrink_text import text_model
from moe_plan.replica.shrink_told import sentences
from moe_plan.spec.catalogue import validated as of_class
from moe_plan.spec.model import ModelSpec, Published
from moe_plan.spec.rules import checked
from moe_plan.spec.stacks import stacks
from moe_plan.spec.yaml_reader import Document, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from moe_plan.replica.shrink_layers import Kept

    BytesOf = Callable[[ModelSpec], int]

TOKENS = 24
"""Prompt for which lengths are chosen, unless another is given."""
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
LADDER = tuple(Fraction(1, step) for step in _STEPS)
DEFAULT_BYTES = 32 << 20
"""Weights of a replica whose scale nobody chose: one core checks the whole catalogue in minutes."""
_LARGEST_DENOMINATOR = 10**9


class Shrunk(NamedTuple):
    """A smaller model of the same structure."""

    spec: ModelSpec
    """Decoder and encoders alone."""
    scale: Fraction
    """New widths for old ones, before they are rounded."""
    kept: tuple[str, ...]
    """What was kept, what was left out, and what became smaller, a sentence each."""


def shrink(
    spec: ModelSpec,
    scale: Fraction | float,
    *,
    tokens: int = TOKENS,
    odd: bool = False,
    keep_layers: int | None = None,
) -> Shrunk:
    """The text model of `spec` at `scale`: 1 is the model itself, all layers at full width.

    Below 1, one layer of every kind is kept, or `keep_layers` where that is more, and lengths are chosen for
    a prompt of `tokens` tokens with a few decode steps after it. `odd` picks odd, unequal sizes, so that a
    swapped dimension shows. Raises ValueError for a scale, layers or tokens out of bounds.
    """
    factor = _in_bounds(scale, tokens, keep_layers, odd=odd)
    given = of_class(spec)
    whole = text_model(given)
    kept: dict[str, Kept] = {}
    smaller = whole
    if factor < 1 or keep_layers is not None:
        smaller, kept = _with_fewer_layers(whole, keep_layers)
    before = smaller
    if factor < 1:
        smaller = resized(smaller, factor, tokens, odd=odd)
    if smaller is not whole:
        smaller = smaller.model_copy(update={"published": Published(source=spec.published.source)})
    left_out = tuple(name for name in given.parts if name not in whole.parts)
    return Shrunk(_checked(smaller), factor, sentences(before, smaller, kept, left_out))


def largest_scale(
    spec: ModelSpec,
    budget_bytes: int,
    bytes_of: BytesOf,
    *,
    least_bytes_of: BytesOf | None = None,
    tokens: int = TOKENS,
) -> Fraction | None:
    """The largest step of LADDER at which `bytes_of` the shrunk spec is within the budget; None if none is.

    `least_bytes_of`, where it is given, is a bound that is quickly found, such as the weights alone: the
    search is made with it, and `bytes_of` is asked only from the step on that it allows. Neither may grow as
    the scale falls.
    """

    def within(weigh: BytesOf, scale: Fraction) -> bool:
        return weigh(shrink(spec, scale, tokens=tokens).spec) <= budget_bytes

    quick = least_bytes_of or bytes_of
    # The model itself has all layers and takes longest to weigh: only where half of it fits.
    first = bisect_left(LADDER, x=True, lo=1, key=lambda scale: within(quick, scale))
    if first == 1 and within(quick, LADDER[0]):
        first = 0
    if least_bytes_of is None:
        return LADDER[first] if first < len(LADDER) else None
    return next((scale for scale in LADDER[first:] if within(bytes_of, scale)), None)


def default_scale(
    spec: ModelSpec,
    bytes_of: BytesOf | None = None,
    *,
    budget_bytes: int = DEFAULT_BYTES,
    tokens: int = TOKENS,
) -> Fraction:
    """The scale where the user gives none: at most 1/2, so that windows are felt; the least if nothing fits.

    `bytes_of` are by default the replica's weights in float32, counted on the meta device.
    """
    found = largest_scale(spec, budget_bytes, bytes_of or _weight_bytes, tokens=tokens)
    return LADDER[-1] if found is None else min(found, LADDER[1])


def _weight_bytes(spec: ModelSpec) -> int:
    from moe_plan.replica import build  # noqa: PLC0415  shrinking needs no torch

    return build.weight_bytes(build.on_meta(spec))


def _in_bounds(scale: Fraction | float, tokens: int, keep_layers: int | None, *, odd: bool) -> Fraction:
    if not 0 < scale <= 1:
        message = f"scale must be above 0 and at most 1, not {scale}"
    elif tokens < FEWEST_TOKENS:
        message = f"tokens must be at least {FEWEST_TOKENS}, not {tokens}"
    elif keep_layers is not None and keep_layers < 1:
        message = f"keep_layers must be at least 1, not {keep_layers}"
    elif odd and scale == 1:
        message = "odd sizes need a scale below 1"
    else:
        # A float such as 0.1 means the fraction nearby.
        return Fraction(scale).limit_denominator(_LARGEST_DENOMINATOR) or Fraction(1, _LARGEST_DENOMINATOR)
    raise ValueError(message)


def _with_fewer_layers(spec: ModelSpec, at_least: int | None) -> tuple[ModelSpec, dict[str, Kept]]:
    """The model with the kept layers of each stack, and what they were."""
    kept: dict[str, Kept] = {}
    for stack in stacks(spec):
        name = str(stack.path[-1]) if stack.path else "decoder"
        kept[name] = kept_layers(stack.part.layers, stack.attention, at_least)
    parts = {name: part.model_copy(update={"layers": kept[name].runs}) for name, part in spec.parts.items()}
    return spec.model_copy(update={"layers": kept["decoder"].runs, "parts": parts}), kept


def _checked(spec: ModelSpec) -> ModelSpec:
    """`spec`, through the validator and all rules, as if it had been written by hand."""
    try:
        valid = ModelSpec.model_validate(spec.model_dump())
        checked(valid, Document(spec.name, None, {(): Place(1, 1, 1, 1, None)}, ()))
    except (ValueError, InputError) as error:
        message = f"shrinking {spec.name} made a spec that does not hold together: {error}"
        raise RuntimeError(message) from error
    return valid
