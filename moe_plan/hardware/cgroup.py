"""What the control groups of a Linux process leave it: limits of its own group and of every group above."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST_NUMBER = 30
_OCTAL = re.compile(r"\\([0-7]{3})")


class Files(NamedTuple):
    """The names under which a version of control groups keeps its figures."""

    limits: tuple[str, ...]
    usage: str
    reclaimable: str
    """Key of `memory.stat` for file pages that the kernel drops before it refuses memory."""


V1 = Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
# Above `memory.high` a group is not killed but slowed to a crawl: for a forward that is the same.
V2 = Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


class Mount(NamedTuple):
    """A hierarchy of groups and where it is mounted: `top` is the group seen at `point`."""

    files: Files
    top: str
    point: str


def headrooms(root: Path) -> Iterator[tuple[int, str]]:
    """Bytes that each limit on this process leaves, with the limit's file; none where nothing is limited.

    `root` stands for `/`, so that tests can bring their own machine.
    """
    groups = _own_groups(root)
    for mount in _mounts(root):
        group = groups.get(mount.files)
        if group is None:
            continue
        point = root / mount.point.lstrip("/")
        for folder in _ancestors(point, _below(group, mount.top)):
            yield from _headroom(folder, mount.files, root)


def _headroom(folder: Path, files: Files, root: Path) -> Iterator[tuple[int, str]]:
    used = _number(folder / files.usage) or 0
    for name in files.limits:
        limit = _number(folder / name)
        if limit is not None:
            reclaimable = min(used, _statistic(folder / "memory.stat", files.reclaimable))
            shown = f"/{(folder / name).relative_to(root)}"
            yield max(0, limit - used + reclaimable), f"the limit in {shown}"


def _own_groups(root: Path) -> dict[Files, str]:
    """The process's group in each hierarchy that accounts for memory."""
    groups: dict[Files, str] = {}
    for line in lines_of(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            groups[V2] = group
        elif "memory" in controllers.split(","):
            groups[V1] = group
    return groups


def _mounts(root: Path) -> tuple[Mount, ...]:
    found = []
    for line in lines_of(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) > 4 and len(kind) > 2 and (files := _version(kind[0], kind[2])):  # noqa: PLR2004  as proc(5) numbers them
            found.append(Mount(files, _unescaped(fields[3]), _unescaped(fields[4])))
    return tuple(found) or (Mount(V2, "/", "/sys/fs/cgroup"), Mount(V1, "/", "/sys/fs/cgroup/memory"))


def _version(kind: str, options: str) -> Files | None:
    if kind == "cgroup2":
        return V2
    return V1 if kind == "cgroup" and "memory" in options.split(",") else None


def _below(group: str, top: str) -> tuple[str, ...]:
    """Folders from the mount point down to the group; none where the group is outside of what is mounted."""
    inside = top != "/" and f"{group}/".startswith(f"{top}/")
    within = group[len(top) :] if inside else group
    parts = tuple(part for part in within.split("/") if part)
    return () if ".." in parts else parts


def _ancestors(point: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The group's folder and all above it up to the mount point, as far as they exist."""
    for depth in range(len(parts), -1, -1):
        folder = point.joinpath(*parts[:depth])
        if folder.is_dir():
            yield folder


def _statistic(path: Path, key: str) -> int:
    for line in lines_of(path):
        name, _, value = line.partition(" ")
        if name == key:
            return _parsed(value) or 0
    return 0


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file or no number, as in `max`."""
    found = lines_of(path)
    return _parsed(found[0]) if found else None


def _parsed(text: str) -> int | None:
    digits = text.strip()
    # Without a limit version 1 writes the largest number there is, which bounds nothing.
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER
    return int(digits) if is_number else None


def _unescaped(path: str) -> str:
    r"""A path of mountinfo, where blanks are octal: `\040`."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), path)


def lines_of(path: Path) -> list[str]:
    """The lines of a small file; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
