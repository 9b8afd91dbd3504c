"""The catalogue's lock: each shipped spec as validated, so that naming a model costs no validation.

`moe-plan compare` of catalogue models must start faster than pydantic can be imported. The lock holds,
one model a line, a checksum of the YAML and of the schema it was validated with, a checksum of the line,
and the validated spec with every default written out. A line that does not match, because a YAML, the
schema or the lock itself was changed, is as good as absent: the spec takes the ordinary way through the
validator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

if TYPE_CHECKING:
    from moe_plan.spec.model import ModelSpec

LOCK_NAME = "catalogue.lock"
_FOLDER = Path(__file__).parent
_SCHEMA = ("model", "attention", "ffn", "rope", "fields", "limits")
SCHEMA_FILES = tuple(_FOLDER / f"{name}.py" for name in _SCHEMA)
# Fields that map a person's names to specs; every other mapping is itself a spec.
_MAPPINGS = frozenset({"attention", "ffn", "parts", "checkpoints"})


class Locked:
    """A read-only stand-in for a spec class: the same fields, already validated."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        message = f"a locked spec is read-only: {name}"
        raise AttributeError(message)


def fingerprint(yaml_bytes: bytes) -> str:
    """Checksum of a spec and of the schema; it guards against staleness, not against malice.

    Raises OSError where the schema's sources are not there to be read.
    """
    schema = 0
    for path in SCHEMA_FILES:
        schema = crc32(path.read_bytes(), schema)
    return f"{crc32(yaml_bytes):08x}{schema:08x}"


def locked_spec(folder: Path, name: str, yaml_bytes: bytes) -> ModelSpec | None:
    """The locked spec of `name`, or None where the lock is absent, stale or damaged."""
    try:
        lines = (folder / LOCK_NAME).read_bytes().split(b"\n")
        start = f"{name} {fingerprint(yaml_bytes)} ".encode()
    except OSError:
        return None
    for line in lines:
        if line.startswith(start):
            checksum, _, payload = line[len(start) :].partition(b" ")
            # Nothing at all has the checksum 0.
            if payload and checksum == _checksum(payload):
                return cast("ModelSpec", thaw(json.loads(payload)))
    return None


def lock_line(name: str, yaml_bytes: bytes, spec: ModelSpec) -> bytes:
    """The line of the lock that `locked_spec` reads back."""
    payload = json.dumps(spec.model_dump(mode="json"), separators=(",", ":"), ensure_ascii=True).encode()
    return b" ".join((name.encode(), fingerprint(yaml_bytes).encode(), _checksum(payload), payload)) + b"\n"


def _checksum(payload: bytes) -> bytes:
    return f"{crc32(payload):08x}".encode()


def thaw(value: object, field: str = "", mappings: frozenset[str] = _MAPPINGS) -> object:
    """Locked specs, tuples and plain values from what the lock's JSON holds."""
    if isinstance(value, list):
        return tuple(thaw(item, "", mappings) for item in value)
    if not isinstance(value, dict):
        return value
    if field in mappings:
        return {key: thaw(item, "", mappings) for key, item in value.items()}
    return Locked({key: thaw(item, key, mappings) for key, item in value.items()})
