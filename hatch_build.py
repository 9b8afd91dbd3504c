"""Compile an editable install to bytecode, as pip does for every other install.

Start-up is measured, and without this an environment that sets PYTHONDONTWRITEBYTECODE would compile
the package anew in every run. An edited source is noticed by its time and compiled as usual.
"""

from __future__ import annotations

import compileall
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BytecodeHook(BuildHookInterface[Any]):
    """Runs before an editable wheel is built; ordinary wheels are compiled where they are installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Write __pycache__ beside the sources."""
        if version == "editable":
            compileall.compile_dir(Path(self.root) / "moe_plan", quiet=1)
