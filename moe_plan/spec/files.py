"""Reading a file that may be anything: a FIFO, a device, a folder, a loop of links, an endless stream."""

from __future__ import annotations

import errno
import os
import stat
import sys

from moe_plan.errors import InputError, Problem
from moe_plan.spec import limits

STDIN = "-"
STDIN_NAME = "<stdin>"

_REASONS = {
    errno.ENOENT: "no such file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "is a directory",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.ELOOP: "too many symbolic links; the path is a loop",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENXIO: "not a regular file",
}
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_WEIGHTS = (".safetensors", ".gguf")

# A FIFO without a writer would otherwise block the open; a terminal could become ours.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)


def read_spec_file(path: str, limit: int = limits.SPEC_BYTES, wanted: str = "a spec in YAML") -> bytes:
    """The bytes of a regular file, or of standard input for `-`, one more than the limit at most.

    Raises InputError for whatever cannot be read. Pickle and weight files are refused unopened; `wanted`
    says what should be given in their place.
    """
    if path == STDIN:
        return _read_stdin(limit, wanted)
    lowered = path.lower()
    if lowered.endswith(_PICKLES):
        raise _refused(path, "MP103", f"pickle files are never opened; give {wanted}")
    if lowered.endswith(_WEIGHTS):
        raise _refused(path, "MP103", f"the file holds weights; give {wanted}")
    try:
        return _read_regular(path, limit)
    except OSError as error:
        raise _refused(path, "MP101", _REASONS.get(error.errno or 0) or "cannot be read") from None
    except ValueError:
        raise _refused(path, "MP101", "the path holds a character that no file name has") from None


def shown_name(path: str) -> str:
    """How messages name the file."""
    return STDIN_NAME if path == STDIN else path


def _read_regular(path: str, limit: int) -> bytes:
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.ENXIO, path)
        return _read_at_most(descriptor, limit + 1)
    finally:
        os.close(descriptor)


def _read_at_most(descriptor: int, size: int) -> bytes:
    """One read may return less than asked for, from /proc above all."""
    chunks: list[bytes] = []
    while size > 0 and (chunk := os.read(descriptor, size)):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _read_stdin(limit: int, wanted: str) -> bytes:
    # None where the process was started with a closed standard input.
    if sys.stdin is None:
        raise _refused(STDIN, "MP101", "standard input is closed")
    if sys.stdin.isatty():
        raise _refused(STDIN, "MP101", f"standard input is a terminal; pipe {wanted} into it")
    try:
        return sys.stdin.buffer.read(limit + 1)
    except OSError:
        raise _refused(STDIN, "MP101", "cannot be read") from None


def _refused(path: str, code: str, message: str) -> InputError:
    return InputError([Problem(code, shown_name(path), None, None, "", message)])
