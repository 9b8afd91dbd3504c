"""What runs on torch, loaded late: it takes seconds, and where it is missing the error tells the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from warnings import filterwarnings

from moe_plan.errors import UnavailableError
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    Loaded = TypeVar("Loaded")

EXTRA = "pip install 'moe-plan[replica]'"
MISSING = f"a replica runs on torch, which is not installed; add it with: {EXTRA}"
# torch says so in the text of a RuntimeError where it is the CPU that has no memory left.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def loaded(load: Callable[[], Loaded]) -> Loaded:
    """What `load` imports. Raises UnavailableError where torch is missing or broken."""
    # torch says so once where NumPy, which nothing here needs, is not installed.
    filterwarnings("ignore", message="Failed to initialize NumPy")
    try:
        return load()
    except (ImportError, OSError) as error:
        name = getattr(error, "name", None) or ""
        if name.split(".")[0] == "moe_plan":
            raise
        if name == "torch" and isinstance(error, ModuleNotFoundError):
            raise UnavailableError(MISSING) from None
        message = f"torch cannot be loaded: {clean(str(error), 300)}; reinstall it with: {EXTRA}"
        raise UnavailableError(message) from None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: Python's, a device's, or the CPU's as torch words it."""
    text = str(error).casefold()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in text for sign in _OUT_OF_MEMORY)
    )
