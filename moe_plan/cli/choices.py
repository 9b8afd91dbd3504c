"""Closed sets of option values."""

from __future__ import annotations

from typing import Literal

Format = Literal["table", "json", "markdown", "csv"]
Color = Literal["auto", "always", "never"]
