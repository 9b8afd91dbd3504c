"""The exit codes: for the code that returns them and for the help that lists them.

Those of the exceptions stand in `errors` too, which `--help` does not load; a test holds them equal.
"""

from __future__ import annotations

OK = 0
BUG = 1
USAGE = 2
INPUT = 3
UNAVAILABLE = 4
REPLICA = 5
NO = 10
VERIFICATION = 15
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143

TABLE = (
    (OK, "ran"),
    (BUG, "a bug in moe-plan; --debug shows the traceback"),
    (USAGE, "usage: unknown option or command"),
    (INPUT, "input: a spec or name is invalid, unknown or unsupported"),
    (UNAVAILABLE, "not available: missing extra, unwritable output"),
    (REPLICA, "the replica failed: memory guard, timeout, a rank died"),
    (NO, "the answer is no: a verification failed"),
    (VERIFICATION, "the same, with --detailed-exitcode"),
    (INTERRUPTED, "interrupted by Ctrl-C"),
    (CLOSED_PIPE, "the reader closed the pipe"),
    (TERMINATED, "terminated by SIGTERM"),
)


def text() -> str:
    """The table as lines of code and meaning."""
    return "\n".join(f"{code:>5}  {meaning}" for code, meaning in TABLE)
