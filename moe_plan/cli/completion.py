"""Shell completion: names from the catalogue, without reading a spec."""

from __future__ import annotations

import os
from pathlib import Path


def complete_model(incomplete: str) -> list[str]:
    """Catalogue names that start with `incomplete`; with a slash in it, YAML files and folders."""
    if os.sep in incomplete or incomplete.startswith("."):
        return _paths(incomplete)
    from moe_plan.spec.catalogue import names  # noqa: PLC0415  only completion needs it here

    return [name for name in names() if name.startswith(incomplete)]


def complete_hardware(incomplete: str) -> list[str]:
    """Names of hardware that start with `incomplete`; with a slash in it, YAML files and folders."""
    if os.sep in incomplete or incomplete.startswith("."):
        return _paths(incomplete)
    from moe_plan.hardware.names import names  # noqa: PLC0415
    from moe_plan.spec.hardware_catalogue import catalogue  # noqa: PLC0415

    known = {entry.name for _, entry in names(catalogue())}
    return sorted(name for name in known if name.startswith(incomplete))


def complete_component(incomplete: str) -> list[str]:
    """Components that a tensor can have."""
    from moe_plan.estimate.params import COMPONENTS  # noqa: PLC0415

    return [name for name in COMPONENTS if name.startswith(incomplete)]


def complete_weights(incomplete: str) -> list[str]:
    """Weight formats that every model knows."""
    from moe_plan.estimate.formats import FORMATS  # noqa: PLC0415

    return [name for name in ("native", *FORMATS) if name.startswith(incomplete)]


def complete_kv(incomplete: str) -> list[str]:
    """Formats of the key-value cache."""
    from moe_plan.estimate.cache import KV_FORMATS  # noqa: PLC0415

    return [name for name in KV_FORMATS if name.startswith(incomplete)]


def complete_attention(incomplete: str) -> list[str]:
    """Kinds of attention."""
    from moe_plan.plan.structure import ATTENTION_KINDS  # noqa: PLC0415

    return [kind for kind in ATTENTION_KINDS if kind.startswith(incomplete)]


def _paths(incomplete: str) -> list[str]:
    folder, start = os.path.split(incomplete)
    try:
        entries = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    prefix = incomplete.removesuffix(start) if start else incomplete
    found = [entry for entry in entries if entry.name.startswith(start)]
    folders = [f"{prefix}{entry.name}{os.sep}" for entry in found if entry.is_dir()]
    return folders + [prefix + entry.name for entry in found if entry.suffix in (".yaml", ".yml")]
