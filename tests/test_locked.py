"""The lock of the catalogue: whatever befalls it, the numbers are those of the YAML."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import moe_plan
from moe_plan.api import Model
from moe_plan.spec import catalogue, locked
from moe_plan.spec.locked import LOCK_NAME, Locked
from moe_plan.spec.model import ModelSpec

NAME = "mixtral-8x7b"
TOTAL, ACTIVE = 46_702_792_704, 12_879_925_248
EXPERT = 32 * 3 * 4096 * 14336

# Between them: every kind of storage, part and cache that a lock has to bring back.
SAMPLE = (
    "deepseek-v4-flash",
    "longcat-flash",
    "mistral-small-4-119b",
    "nemotron-3-nano-30b-a3b",
    "qwen3-235b-a22b",
    "switch-base-8",
)
# What each public answer of a model is asked with.
ASKED: dict[str, tuple[object, ...]] = {
    "checkpoint_bytes": ("q4_k",),
    "component_bytes": ("fp8-block",),
    "decode_flops": (5_000,),
    "decode_weight_bytes": (32,),
    "distinct_experts": (32,),
    "kv_bytes": (5_000, "fp8"),
    "kv_bytes_per_token": ("bf16", 100),
    "max_context": (10**10,),
    "prefill_flops_per_token": (5_000,),
    "storage": (),
    "training_flops_per_token": (4_096,),
    "weight_bytes": (),
}
# The fields as the lock has them, and the same through the validator.
FIELDS = {"fields", "spec"}


@contextmanager
def shelf() -> Iterator[Path]:
    """A catalogue of one model with its lock, which is used."""
    shipped = catalogue.folder() / f"{NAME}.yaml"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        here = Path(folder)
        (here / shipped.name).write_bytes(shipped.read_bytes())
        patch.setattr(catalogue, "folder", lambda: here)
        catalogue.relock()
        assert_from_lock(moe_plan.load(NAME))
        yield here


def assert_true_numbers(shipped: Model) -> None:
    assert (shipped.total_params, shipped.active_params) == (TOTAL, ACTIVE)
    assert shipped.distinct_experts(1) == 2


def assert_validated(shipped: Model) -> None:
    """The lock was passed over."""
    assert type(shipped.fields) is ModelSpec
    assert_true_numbers(shipped)


def assert_from_lock(shipped: Model) -> None:
    assert type(shipped.fields) is Locked
    assert_true_numbers(shipped)


def test_a_sound_lock_is_used():
    """The shipped one too, and it is what `relock` writes."""
    assert_from_lock(moe_plan.load(NAME))
    lines = (catalogue.folder() / LOCK_NAME).read_bytes().splitlines(keepends=True)
    with shelf() as here:
        assert (here / LOCK_NAME).read_bytes() in lines


def test_a_changed_payload_is_passed_over():
    """One digit of the line: still JSON, still a model, and not the one of the YAML."""
    with shelf() as here:
        sound = (here / LOCK_NAME).read_bytes()
        for old, new in ((b'"experts":8', b'"experts":9'), (b'"hidden":4096', b'"hidden":4097')):
            assert sound.count(old) == 1
            (here / LOCK_NAME).write_bytes(sound.replace(old, new))
            assert_validated(moe_plan.load(NAME))


def test_a_cut_off_payload_is_passed_over():
    with shelf() as here:
        sound = (here / LOCK_NAME).read_bytes()
        for length in (len(sound) - 2, len(sound) // 2, len(NAME) + 20, len(NAME) + 1, 0):
            (here / LOCK_NAME).write_bytes(sound[:length])
            assert_validated(moe_plan.load(NAME))


def test_a_stale_yaml_counts_and_not_the_lock():
    """3 of 8 experts instead of 2: the lock still holds the old spec."""
    with shelf() as here:
        path = here / f"{NAME}.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count("top_k: 2") == 1
        path.write_text(text.replace("top_k: 2", "top_k: 3"), encoding="utf-8")
        shipped = moe_plan.load(NAME)
        assert type(shipped.fields) is ModelSpec
        assert shipped.distinct_experts(1) == 3
        assert (shipped.total_params, shipped.active_params) == (TOTAL, ACTIVE + EXPERT)


def test_a_stale_schema_is_noticed():
    """A comment in the schema's sources is enough: what it means for the lock, only the validator knows."""
    with shelf() as here, pytest.MonkeyPatch.context() as patch:
        first, *others = locked.SCHEMA_FILES
        changed = here / "changed.py"
        changed.write_bytes(first.read_bytes() + b"# changed\n")
        patch.setattr(locked, "SCHEMA_FILES", (changed, *others))
        assert_validated(moe_plan.load(NAME))


def test_absent_schema_sources_are_no_error():
    """An installation of bytecode alone."""
    with shelf() as here, pytest.MonkeyPatch.context() as patch:
        patch.setattr(locked, "SCHEMA_FILES", (here / "absent.py",))
        assert_validated(moe_plan.load(NAME))


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe" * 50_000, b"\n" * 1_000, NAME.encode()])
def test_a_lock_that_is_none(content):
    with shelf() as here:
        (here / LOCK_NAME).unlink()
        if content is not None:
            (here / LOCK_NAME).write_bytes(content)
        assert_validated(moe_plan.load(NAME))


def test_garbage_after_a_true_start():
    """Name and checksums of YAML and schema match; what follows is no payload."""
    with shelf() as here:
        name, fingerprint, *_ = (here / LOCK_NAME).read_bytes().split(b" ")
        for rest in (
            b"",
            b" ",
            b"00000000",
            b"00000000 ",
            b"00000000 {}",
            b"00000000 \xff\xfe\x00",
            b"{" * 100_000,
        ):
            (here / LOCK_NAME).write_bytes(b" ".join((name, fingerprint, rest)) + b"\n")
            assert_validated(moe_plan.load(NAME))


def test_a_folder_in_the_locks_place():
    with shelf() as here:
        (here / LOCK_NAME).unlink()
        (here / LOCK_NAME).mkdir()
        assert_validated(moe_plan.load(NAME))


def test_writing_it_anew():
    with shelf() as here:
        sound = (here / LOCK_NAME).read_bytes()
        (here / LOCK_NAME).write_bytes(b"\xff")
        catalogue.relock()
        assert (here / LOCK_NAME).read_bytes() == sound
        assert sorted(path.name for path in here.iterdir()) == [LOCK_NAME, f"{NAME}.yaml"]


def answers(counted: Model) -> dict[str, object]:
    """Every public answer; a method's at the point of ASKED."""
    names = {name for name in dir(counted) if not name.startswith("_")} - FIELDS
    values = {name: getattr(counted, name) for name in sorted(names)}
    assert {name for name, value in values.items() if callable(value)} == ASKED.keys()
    return {name: value(*ASKED[name]) if callable(value) else value for name, value in values.items()}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_name_and_the_path_of_its_yaml_are_one_model(name):
    by_name = moe_plan.load(name)
    by_path = moe_plan.load(str(catalogue.folder() / f"{name}.yaml"))
    assert type(by_name.fields) is Locked
    assert type(by_path.fields) is ModelSpec
    assert answers(by_name) == answers(by_path)
    assert type(by_name.spec) is type(by_path.spec) is ModelSpec
    assert by_name.spec == by_path.spec == by_path.fields
    for checkpoint in by_path.spec.checkpoints:
        assert by_name.weight_bytes(checkpoint) == by_path.weight_bytes(checkpoint)


def test_a_locked_spec_is_read_only():
    fields = moe_plan.load(NAME).fields
    for target in (fields, fields.ffn["experts"], fields.layers[0]):
        with pytest.raises(AttributeError, match="read-only"):
            target.repeat = 2
