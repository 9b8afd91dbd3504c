"""Closed sets of option values."""

from __future__ import annotations

from typing import Literal

Format = Literal["table", "json", "markdown", "csv"]
Color = Literal["auto", "always", "never"]
Device = Literal["cpu", "cuda", "mps", "auto"]
Dtype = Literal["fp32", "bf16", "fp16"]
Lines = Literal["all", "differences", "auto"]
Picture = Literal["svg", "png"]
