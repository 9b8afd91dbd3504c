"""Weight bytes: every tensor in its own format, as a release stores them or as one format converts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.estimate.formats import DTYPE_BYTES, FORMATS, matrix_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.anatomy.inventory import Block, Inventory, Role, Weight
    from moe_plan.spec.model import Checkpoint

NATIVE = "native"
QUANTISED_ROLES = frozenset({"decoder", "encoder", "mtp"})


class Storage(NamedTuple):
    """A mix of formats: a default, and rules (format, tensor classes or names), the later winning."""

    name: str
    default: str
    rules: tuple[tuple[str, frozenset[str]], ...] = ()
    stores_tied_head: bool = False

    def format_of(self, weight: Weight) -> str:
        """The format that holds `weight`; buffers keep their own, vectors the default."""
        if weight.buffer is not None:
            return weight.buffer
        for form, tensors in reversed(self.rules):
            if (form in DTYPE_BYTES or _is_matrix(weight)) and _named(weight, tensors):
                return form
        return self.default

    def for_role(self, role: Role) -> Storage:
        """The formats of a part of `role`: towers and projectors are released unquantised."""
        return self if role in QUANTISED_ROLES else self._replace(rules=())


def checkpoint_storage(name: str, checkpoint: Checkpoint) -> Storage:
    """The mix of formats of a published checkpoint."""
    rules = tuple((rule.format, frozenset(rule.tensors)) for rule in checkpoint.rules)
    return Storage(name, checkpoint.default, rules, checkpoint.stores_tied_head)


def uniform_storage(name: str) -> Storage:
    """One format for all the tensors that its quantisers convert, its usual one for the rest."""
    form = FORMATS[name]
    rules = ((name, form.quantises),) if form.quantises else ()
    return Storage(name, form.otherwise, rules)


def weight_bytes_of(weight: Weight, storage: Storage) -> int:
    """Bytes of all copies of one tensor, stored or not; the rows of a lookup are one matrix."""
    form = storage.format_of(weight)
    if form in DTYPE_BYTES:
        return weight.copies * weight.elements * DTYPE_BYTES[form]
    if weight.use == "lookup":
        return matrix_bytes(form, (weight.copies, *weight.shape))
    return weight.copies * matrix_bytes(form, weight.shape)


def weight_bytes(inventory: Inventory, storage: Storage) -> int:
    """Bytes of the text model as a server without speculative decoding holds it, buffers included."""
    return sum(_by_component(inventory.text, storage).values())


def component_bytes(inventory: Inventory, storage: Storage) -> dict[str, int]:
    """`weight_bytes` by component."""
    return _by_component(inventory.text, storage)


def part_bytes(inventory: Inventory, storage: Storage) -> dict[str, int]:
    """Bytes of each part outside the text model, second copies of its tensors left out."""
    names = dict.fromkeys(block.part for block in inventory.blocks if not block.in_text)
    return {
        name: sum(_by_component((b for b in inventory.blocks if b.part == name), storage).values())
        for name in names
    }


def checkpoint_bytes(inventory: Inventory, storage: Storage) -> int:
    """Bytes of the tensors in the released files: every part, and the copies that the release repeats."""
    total = 0
    for block in inventory.blocks:
        formats = storage.for_role(block.role)
        for weight in block.weights:
            if weight.stored or (storage.stores_tied_head and weight.name == "lm_head"):
                total += block.count * weight_bytes_of(weight, formats)
    return total


def _by_component(blocks: Iterable[Block], storage: Storage) -> dict[str, int]:
    sums: dict[str, int] = {}
    for block in blocks:
        formats = storage.for_role(block.role)
        for weight in block.weights:
            if weight.stored and not weight.copy:
                size = block.count * weight_bytes_of(weight, formats)
                sums[weight.component] = sums.get(weight.component, 0) + size
    return sums


def _is_matrix(weight: Weight) -> bool:
    return weight.use in ("matmul", "lookup")


def _named(weight: Weight, tensors: frozenset[str]) -> bool:
    """Whether a rule means `weight`: by its class, its name, or its name without a block number."""
    if not weight.stored:
        # A tied head is the embedding table, whatever a rule says of heads.
        return "embedding" in tensors
    if weight.component in tensors or weight.name in tensors:
        return True
    return unnumbered(weight.name) in tensors


def unnumbered(name: str) -> str:
    """`dense.up` for `dense.1.up`: the name without the number of its block in the layer."""
    owner, _, rest = name.partition(".")
    number, _, last = rest.partition(".")
    return f"{owner}.{last}" if number.isdigit() else name
