"""Writing to standard output and error when they may be closed, full, or unable to encode.

Imports next to nothing: `--help` goes through here.
"""

from __future__ import annotations

import os
import sys

from moe_plan.cli.exit_codes import CLOSED_PIPE


class ReaderGone(Exception):  # noqa: N818  a reader that closed its pipe is no error
    """Whoever read our output has closed it (`| head`)."""

    exit_code = CLOSED_PIPE


def write_output(text: str) -> None:
    """Write `text` to standard output, all of it, now; nothing where it is closed.

    Raises ReaderGone, or UnavailableError with the reason (exit code 4).
    """
    stream = sys.stdout
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        silence(stream)
        raise ReaderGone from None
    except OSError as error:
        silence(stream)
        raise _unwritable(error) from None
    except ValueError:
        # Closed from within the process.
        return


def write_error(text: str) -> None:
    """Write lines to standard error as far as possible: there is nowhere left to complain to."""
    stream = sys.stderr
    if stream is None or not text:
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except (OSError, ValueError):
        silence(stream)


def silence(stream: object) -> None:
    """Point a broken stream at nothing, so that Python's flush at exit does not fail on it again."""
    try:
        number = stream.fileno()  # type: ignore[attr-defined]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        return


def _unwritable(error: OSError) -> Exception:
    from moe_plan.errors import UnavailableError  # noqa: PLC0415  only a failing write needs it

    return UnavailableError(f"cannot write: {error.strerror or error}")


def silence_output() -> None:
    """Point standard output at nothing."""
    silence(sys.__stdout__)
