"""One line on standard error that says what a long command is at; only on a terminal, only after a while."""

from __future__ import annotations

import os
import sys
from threading import Lock, Timer
from typing import TYPE_CHECKING, Self

from moe_plan.text import clean

if TYPE_CHECKING:
    from types import TracebackType

DELAY_S = 0.5
_ERASE = "\r\x1b[K"
_LONGEST = 78


class Progress:
    """The line; erased on leaving the context, whatever the reason."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._stream = sys.stderr
        self._text = ""
        self._is_due = False
        self._lock = Lock()
        # What ends sooner than the delay never shows a line.
        self._timer = None if quiet or not _can_erase(self._stream) else Timer(DELAY_S, self._show)

    def __enter__(self) -> Self:
        """Start waiting."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Erase what is shown."""
        if self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            if self._is_due and self._text:
                self._write("")
            # A timer that fires at this very moment finds nothing to show.
            self._text = ""

    def say(self, text: str) -> None:
        """Replace the line by `text`, or keep `text` for when the line appears."""
        with self._lock:
            self._text = clean(text, _LONGEST)
            if self._is_due:
                self._write(self._text)

    def _show(self) -> None:
        with self._lock:
            self._is_due = True
            if self._text:
                self._write(self._text)

    def _write(self, text: str) -> None:
        try:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(_ERASE + text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody is looking any more.
            self._is_due = False


def _can_erase(stream: object) -> bool:
    if stream is None or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (ValueError, AttributeError):
        return False
