"""Output files: refused before anything is computed, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from moe_plan.errors import UnavailableError, UsageError
from moe_plan.text import clean, did_you_mean

if TYPE_CHECKING:
    from moe_plan.cli.choices import Format, Picture

SUFFIXES = {"table": "txt", "json": "json", "markdown": "md", "csv": "csv"}
STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
"""Names of what is open already, which a renamed file would replace."""
PICTURES = ("svg", "png")


class Target(NamedTuple):
    """One output file: its format, the path as given, and where that leads."""

    format: Format | Picture
    path: str
    real_path: Path


def targets(
    requests: Sequence[str], command: str, inputs: Iterable[str] = (), picture: str | None = None
) -> tuple[Target, ...]:
    """What `-o FORMAT[=PATH]` asks for; without a path, the command's name in the current folder.

    `picture` is the path of one more file, whose ending says its format. Raises UsageError for an unknown
    format, UnavailableError for a path that cannot be written, is one of `inputs`, or is given twice.
    """
    found = tuple(_target(request, command) for request in requests)
    if picture is not None:
        found += (_picture(picture),)
    # A catalogue name is no path, but a file of that name could not be told from one.
    taken = {path: "an input" for path in map(_real_path, inputs) if path is not None}
    for target in found:
        _check_writable(target)
        if target.real_path in taken:
            raise _refused(target, f"it is also {taken[target.real_path]}")
        taken[target.real_path] = "another output"
    return found


def write_files(contents: Iterable[tuple[Target, str | bytes]]) -> None:
    """Write each file under a temporary name beside it, then rename. Raises UnavailableError."""
    for target, content in contents:
        _write(target, content.encode("utf-8", "replace") if isinstance(content, str) else content)


def _target(request: str, command: str) -> Target:
    name, given, path = request.partition("=")
    if name not in SUFFIXES:
        message = (
            f"-o takes FORMAT or FORMAT=PATH, and {clean(name, 40)!r} is no format"
            f"{did_you_mean(name, SUFFIXES)}; known: {', '.join(SUFFIXES)}"
        )
        raise UsageError(message)
    if path == "-":
        message = f"-o {name}=- names no file; --format {name} writes to standard output"
        raise UsageError(message)
    if given and not path:
        message = f"-o {name}= names no file"
        raise UsageError(message)
    path = path or f"{command}.{SUFFIXES[name]}"
    return Target(cast("Format", name), path, _named(path))


def _picture(path: str) -> Target:
    ending = path.rpartition(".")[2].lower()
    if ending not in PICTURES:
        message = f"a picture is an svg or a png, and {clean(path, 80)!a} ends in neither"
        raise UsageError(message)
    return Target(cast("Picture", ending), path, _named(path))


def _named(path: str) -> Path:
    real_path = _real_path(path)
    if real_path is None:
        message = f"cannot write {clean(path)}: not a file name"
        raise UnavailableError(message)
    return real_path


def _real_path(path: str) -> Path | None:
    """Where `path` leads; None where it cannot be a path (a NUL in it, a loop of links)."""
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def _check_writable(target: Target) -> None:
    path = target.real_path
    try:
        # The name of a stream leads to whatever file it was sent to.
        is_stream = os.path.abspath(target.path).startswith(STREAMS)  # noqa: PTH100  resolves no links
        reason = "it is not a regular file" if is_stream else _reason_against(path)
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise _refused(target, reason)


def _reason_against(path: Path) -> str:
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return "its folder does not exist"
    # Renaming onto a device or a pipe would replace it.
    if path.exists() and not path.is_file():
        return "it is not a regular file"
    if path.exists() and not os.access(path, os.W_OK):
        return "it is not writable"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return "its folder is not writable"
    return ""


def _write(target: Target, data: bytes) -> None:
    path = target.real_path
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        # O_EXCL follows no symbolic link that someone may have put there.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o777)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise _refused(target, error.strerror or str(error)) from None


def _refused(target: Target, reason: str) -> UnavailableError:
    return UnavailableError(f"cannot write {clean(target.path)}: {reason}")
