"""The catalogue of shipped hardware, read from its lock so that naming a GPU costs no validation.

The lock holds, one file a line, a checksum of the YAML and of the schema, a checksum of the line, and the
validated spec, as the models' lock does. A line that does not match is as good as absent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from zlib import crc32

from moe_plan.spec.locked import thaw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.hardware import Accelerator, Cloud, HardwareSpec, System

LOCK_NAME = "catalogue.lock"
_PACKAGE = Path(__file__).resolve().parent.parent
SCHEMA_FILES = tuple(
    Path(__file__).with_name(f"{name}.py") for name in ("hardware", "hardware_figures", "fields", "limits")
)
_MAPPINGS = frozenset({"sources", "profiles", "unconfirmed", "instances"})
_SUFFIX = ".yaml"


class Catalogue(NamedTuple):
    """Every shipped spec by its name."""

    accelerators: dict[str, Accelerator]
    systems: dict[str, System]
    clouds: dict[str, Cloud]


def folder() -> Path:
    """Where the shipped files are: inside the installed package, or beside it in a checkout."""
    installed = _PACKAGE / "hardware_specs"
    return installed if installed.is_dir() else _PACKAGE.parent / "hardware_specs"


def catalogue() -> Catalogue:
    """All shipped hardware, sorted by name."""
    found = Catalogue({}, {}, {})
    for spec in _specs(folder()):
        shelf = {"accelerator": found.accelerators, "system": found.systems, "cloud": found.clouds}
        shelf[spec.kind][spec.name] = spec  # type: ignore[index]  # the kind says which it is
    return found


def accelerator_names() -> tuple[str, ...]:
    """Names of the shipped accelerators, without reading more than their second lines."""
    where = folder()
    start = b"\nkind: accelerator\n"
    return tuple(name for name in _names(where) if start in (where / f"{name}{_SUFFIX}").read_bytes()[:200])


def relock() -> None:
    """Write the lock anew from the YAML files, each validated."""
    from moe_plan.spec.hardware_load import load_hardware  # noqa: PLC0415  the catalogue needs no pydantic

    where, schema = folder(), _schema_checksum()
    lines = []
    for name in _names(where):
        path = where / f"{name}{_SUFFIX}"
        spec, _ = load_hardware(str(path))
        dumped = spec.model_dump(mode="json", exclude_defaults=False)
        payload = json.dumps(dumped, separators=(",", ":"), ensure_ascii=True).encode()
        start = _start(name, path.read_bytes(), schema)
        lines.append(start + _checksum(payload) + b" " + payload + b"\n")
    temporary = where / f"{LOCK_NAME}.{os.getpid()}"
    temporary.write_bytes(b"".join(lines))
    temporary.replace(where / LOCK_NAME)


def _specs(where: Path) -> Iterator[HardwareSpec]:
    locked, schema = _locked_lines(where), _schema_checksum()
    for name in _names(where):
        path = where / f"{name}{_SUFFIX}"
        start = _start(name, path.read_bytes(), schema)
        line = locked.get(name.encode(), b"")
        checksum, _, payload = line[len(start) :].partition(b" ")
        if line.startswith(start) and payload and checksum == _checksum(payload):
            yield cast("HardwareSpec", thaw(json.loads(payload), "", _MAPPINGS))
        else:
            from moe_plan.spec.hardware_load import load_hardware  # noqa: PLC0415

            yield load_hardware(str(path))[0]


def _names(where: Path) -> tuple[str, ...]:
    # os.listdir, because importing what pathlib's globbing needs costs more than the listing.
    return tuple(sorted(e.removesuffix(_SUFFIX) for e in os.listdir(where) if e.endswith(_SUFFIX)))  # noqa: PTH208


def _locked_lines(where: Path) -> dict[bytes, bytes]:
    try:
        lines = (where / LOCK_NAME).read_bytes().split(b"\n")
    except OSError:
        return {}
    return {line.partition(b" ")[0]: line for line in lines}


def _start(name: str, data: bytes, schema: str) -> bytes:
    return f"{name} {crc32(data):08x}{schema} ".encode()


def _schema_checksum() -> str:
    """Checksum of the schema's sources; `-`, which matches no line, where they cannot be read."""
    schema = 0
    try:
        for path in SCHEMA_FILES:
            schema = crc32(path.read_bytes(), schema)
    except OSError:
        return "-"
    return f"{schema:08x}"


def _checksum(payload: bytes) -> bytes:
    return f"{crc32(payload):08x}".encode()


if __name__ == "__main__":
    relock()
