"""Whether somebody else has started the ranks already: torchrun, or SLURM's srun."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import UsageError
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOWEST_PORT, _PORTS = 20_000, 20_000
_LONGEST_NUMBER = 10
_FIRST_HOST = re.compile(r"([^\[,]+)(?:\[([^\],-]+))?")


class Joined(NamedTuple):
    """This process's place among ranks that somebody else has started."""

    rank: int
    ranks: int
    local_rank: int
    address: str
    port: int
    keeps_store: bool
    """Rank 0 keeps the store, unless torchrun's agent already does."""
    started_by: str


def joined(environment: Mapping[str, str]) -> Joined | None:
    """The place that torchrun or srun gave this process; None where the ranks are still to be started.

    A batch script of SLURM is one process, whatever SLURM_NTASKS says: only a step that srun started with
    more than one task counts. Raises UsageError where a variable is not what it should be.
    """
    try:
        if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
            return _of_torchrun(environment)
        if _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PROCID" in environment:
            return _of_slurm(environment)
        _not_half(environment)
    except ValueError as error:
        message = f"the environment of torchrun or SLURM cannot be understood: {error}"
        raise UsageError(message) from None
    return None


def is_first_rank(environment: Mapping[str, str]) -> bool:
    """Whether this process is the one that prints: rank 0, or the only one."""
    place = joined(environment)
    return place is None or place.rank == 0


def _not_half(environment: Mapping[str, str]) -> None:
    """ValueError where some of torchrun's variables say that there are other ranks, and some are missing."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in environment]
    if "RANK" in environment and _number(environment, "WORLD_SIZE", 2) > 1:
        message = f"RANK is set, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not"
        raise ValueError(message)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    """The whole number in a variable; `default` where it is not set. ValueError where it is no number."""
    text = environment.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER):
        message = f"{name} is {clean(text, 40)!r}, and should be a whole number"
        raise ValueError(message)
    return int(text)


def _of_torchrun(environment: Mapping[str, str]) -> Joined:
    rank = _number(environment, "RANK", 0)
    return Joined(
        rank,
        _number(environment, "WORLD_SIZE", 1),
        _number(environment, "LOCAL_RANK", rank),
        environment["MASTER_ADDR"],
        _number(environment, "MASTER_PORT", 0),
        rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        "torchrun",
    )


def _of_slurm(environment: Mapping[str, str]) -> Joined:
    rank = _number(environment, "SLURM_PROCID", 0)
    job = _number(environment, "SLURM_JOB_ID", 0)
    return Joined(
        rank,
        _number(environment, "SLURM_STEP_NUM_TASKS", 1),
        _number(environment, "SLURM_LOCALID", 0),
        environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", "")),
        int(environment.get("MASTER_PORT") or _LOWEST_PORT + job % _PORTS),
        rank == 0,
        "SLURM",
    )


def first_host(nodes: str) -> str:
    """First host of SLURM's compressed list: `node07` of `node[07-09,12],other3`. ValueError if empty."""
    match = _FIRST_HOST.match(nodes)
    if match is None:
        message = "SLURM_STEP_NODELIST is missing; set MASTER_ADDR to the host of rank 0"
        raise ValueError(message)
    return match[1] + (match[2] or "")
