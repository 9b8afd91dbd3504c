"""Every injected bug of mutants.py is caught by the check that it names: the proof that the checks check.

A mutant runs in a world of its own: the calculator, the replica, the witness and the way to a spec, but not the
spec's classes, are imported anew with one source changed, the check's module and its helpers are imported anew
over them, and the check is called.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import product
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from mutant import Mutant
from mutants import MUTANTS

import moe_plan
from moe_plan.anatomy.attention import attention_body
from moe_plan.api import model
from moe_plan.errors import InputError
from moe_plan.spec import catalogue, load, locked
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn
from moe_plan.spec.model import ModelSpec, Part, Published, Run

TESTS = Path(__file__).parent
PACKAGE = Path(moe_plan.__file__).parent
# The packages themselves are replaced too, so that what they hold as attributes is put back with them.
PACKAGES = ("moe_plan", "moe_plan.spec")
CALCULATOR = ("moe_plan.anatomy", "moe_plan.estimate", "moe_plan.api")
REPLICA = ("moe_plan.replica", "moe_plan.witness")
HARDWARE = ("moe_plan.hardware",)
READING = tuple(f"moe_plan.spec.{module}" for module in ("locked", "catalogue", "load", "rules", "flows"))

# Modules beside the checks that hold what a check calls.
HELPERS = ("mixers", "parallel_", "recurrence_weights", "referee_", "whole_")

# What a mutant raises that is wrongly written: such a one shows nothing.
MISTAKES = (SyntaxError, NameError, ImportError, AttributeError, TypeError)


class PatchedLoader(SourceFileLoader):
    """Compiles `source` instead of the file."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class PatchedFinder:
    """Finds the one mutated module before the ordinary finders do."""

    def __init__(self, mutant: Mutant) -> None:
        self.path = PACKAGE / mutant.module
        self.name = "moe_plan." + mutant.module.removesuffix(".py").replace("/", ".")
        source = self.path.read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, (
            f"{mutant.module} holds {mutant.old!r} {source.count(mutant.old)} times"
        )
        self.source = source.replace(mutant.old, mutant.new)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        loader = PatchedLoader(name, str(self.path), self.source)
        return importlib.util.spec_from_file_location(name, self.path, loader=loader)


def is_replaced(name: str) -> bool:
    return name in PACKAGES or name.startswith(
        (*CALCULATOR, *REPLICA, *HARDWARE, *READING, *HELPERS, "test_")
    )


@contextmanager
def world(mutant: Mutant | None) -> Iterator[None]:
    finders = [PatchedFinder(mutant)] if mutant else []
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if is_replaced(name)}
    sys.meta_path[:0] = finders
    try:
        yield
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if is_replaced(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


def fresh(module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module, TESTS / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def cases(check: Callable[..., None]) -> Iterator[dict[str, object]]:
    """The keyword arguments of a check's parametrised cases; one empty set where it has none."""
    marks = [mark for mark in getattr(check, "pytestmark", []) if mark.name == "parametrize"]
    for rows in product(*(mark.args[1] for mark in marks)):
        arguments: dict[str, object] = {}
        for mark, row in zip(marks, rows, strict=True):
            names = mark.args[0]
            arguments |= {names: row} if isinstance(names, str) else dict(zip(names, row, strict=True))
        yield arguments


def failure(mutant: Mutant | None, caught_by: str) -> Exception | None:
    """What a check raises in the mutant's world, None where it passes."""
    module, _, function = caught_by.partition(".")
    with world(mutant):
        check = getattr(fresh(module), function)
        try:
            for arguments in cases(check):
                check(**arguments)
        except MISTAKES:
            raise
        except Exception as failed:
            return failed
    return None


@cache
def holds_without_mutant(caught_by: str) -> bool:
    return failure(None, caught_by) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_is_caught(mutant):
    assert holds_without_mutant(mutant.caught_by), f"{mutant.caught_by} fails without any mutant"
    assert failure(mutant, mutant.caught_by) is not None, f"{mutant.caught_by} does not notice: {mutant.name}"


def test_names_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30


def test_mutants_leave_no_trace():
    before = dict(sys.modules)
    failure(MUTANTS[0], MUTANTS[0].caught_by)
    assert {name for name in before if is_replaced(name)} == {
        name for name in sys.modules if is_replaced(name)
    }
    assert all(sys.modules[name] is module for name, module in before.items())
    assert sys.modules["moe_plan"] is moe_plan
    assert sys.modules["moe_plan.anatomy.attention"].attention_body is attention_body
    for module in (catalogue, load, locked):
        assert getattr(sys.modules["moe_plan.spec"], module.__name__.rpartition(".")[2]) is module


def test_parts_blocks_shadow_the_models():
    """A part's block of the same name as one of the model's is the part's: here 1 head of 2 instead of 3 of 4."""
    ours, theirs = (
        {"a": Attention(kind="gqa", heads=h, kv_heads=h, head_dim=d)} for h, d in ((3, 4), (1, 2))
    )
    spec = ModelSpec(
        name="shadow",
        source="this test",
        published=Published(source="this test"),
        hidden=10,
        vocab=100,
        attention=ours,
        ffn={"f": DenseFfn(kind="dense", width=5)},
        layers=(Run(attention="a", ffn="f"),),
        parts={"tower": Part(role="vision", attention=theirs, layers=(Run(attention="a"),))},
    )
    assert model(spec).parts["tower"]["attention"] == 4 * 10 * 2


def test_layers_of_all_parts_are_bounded():
    """99,999 layers of the decoder and as many of a tower: each alone is believable, both are not."""
    layers = "[{repeat: 9, pattern: [{repeat: 10000, attention: a}]}, {repeat: 9999, attention: a}]"
    text = f"""name: tall
source: this test
published: {{source: this test}}
hidden: 10
vocab: 100
attention: {{a: {{kind: short-conv, taps: 3}}}}
layers: {layers}
"""
    tower = f"parts: {{tower: {{role: vision, layers: {layers}}}}}\n"
    assert load.parse_spec(text.encode(), "tall.yaml").name == "tall"
    refused = None
    try:
        load.parse_spec((text + tower).encode(), "tall.yaml")
    except InputError as error:
        refused = str(error)
    assert refused is not None
    assert "199998 layers in all; at most 100000 are believable" in refused
