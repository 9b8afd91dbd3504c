"""The catalogue of shipped models, and how a name or a path on the command line becomes a spec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from moe_plan.errors import InputError, Problem
from moe_plan.spec.locked import LOCK_NAME, Locked, lock_line, locked_spec
from moe_plan.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.spec.model import ModelSpec

_PACKAGE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """Where the shipped specs are: inside the installed package, or beside it in a checkout."""
    installed = _PACKAGE / "model_specs"
    return installed if installed.is_dir() else _PACKAGE.parent / "model_specs"


def names() -> tuple[str, ...]:
    """Names of the shipped models, sorted."""
    suffix = ".yaml"
    # os.listdir, because importing what pathlib's globbing needs costs more than the listing.
    return tuple(sorted(e.removesuffix(suffix) for e in os.listdir(folder()) if e.endswith(suffix)))  # noqa: PTH208


def find(reference: str) -> ModelSpec:
    """The spec that a catalogue name, a path to a YAML file, or `-` for standard input refers to.

    Raises InputError for an unknown name, with the nearest ones, and for whatever is wrong in a file.
    """
    return find_with_notes(reference)[0]


def find_with_notes(reference: str) -> tuple[ModelSpec, tuple[Problem, ...]]:
    """As `find`, with the warnings about the file beside it; the catalogue has none."""
    if reference in names():
        return _shipped(reference), ()
    if _is_path(reference):
        from moe_plan.spec.load import load_spec_with_notes  # noqa: PLC0415  the catalogue needs no pydantic

        return load_spec_with_notes(reference)
    raise InputError((_unknown(reference),))


def validated(spec: ModelSpec) -> ModelSpec:
    """`spec`, or for a locked one the same through the validator."""
    if not isinstance(spec, Locked):
        return spec
    from moe_plan.spec.load import load_spec  # noqa: PLC0415

    return load_spec(str(folder() / f"{spec.name}.yaml"))


def relock(specs: Iterable[str] | None = None) -> None:
    """Write the lock anew from the YAML files, each validated."""
    from moe_plan.spec.load import load_spec  # noqa: PLC0415

    where = folder()
    lines = []
    for name in specs or names():
        path = where / f"{name}.yaml"
        lines.append(lock_line(name, path.read_bytes(), load_spec(str(path))))
    temporary = where / f"{LOCK_NAME}.{os.getpid()}"
    temporary.write_bytes(b"".join(lines))
    temporary.replace(where / LOCK_NAME)


def _shipped(name: str) -> ModelSpec:
    path = folder() / f"{name}.yaml"
    locked = locked_spec(folder(), name, path.read_bytes())
    if locked is not None:
        return locked
    from moe_plan.spec.load import load_spec  # noqa: PLC0415

    return load_spec(str(path))


def _is_path(reference: str) -> bool:
    if reference == "-" or reference.endswith((".yaml", ".yml")) or os.sep in reference:
        return True
    try:
        return os.path.lexists(reference)
    except ValueError:
        return False


def _unknown(reference: str) -> Problem:
    known = names()
    hint = (
        did_you_mean(reference, known)
        or "; `moe-plan models` lists them, and a path to a YAML file works too"
    )
    message = f"no model of this name in the catalogue of {len(known)}{hint}"
    return Problem("MP301", reference, None, None, "", message)


if __name__ == "__main__":
    relock()
