"""Plan sparse models on hardware: exact counts from a YAML spec.

>>> import moe_plan
>>> moe_plan.load("mixtral-8x7b").total_params
46702792704
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moe_plan.api import Model, load, model, models

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load", "model", "models"]


def __getattr__(name: str) -> Any:
    # `moe-plan --help` imports this package and must not pay for the calculator.
    if name in __all__:
        from moe_plan import api  # noqa: PLC0415

        return getattr(api, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
