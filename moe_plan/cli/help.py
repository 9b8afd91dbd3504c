"""`moe-plan help`: the help of a command, or the table of exit codes."""

from __future__ import annotations

from moe_plan.cli import exit_codes
from moe_plan.cli.parse import parse
from moe_plan.cli.streams import write_output

EXIT_CODES = "exit-codes"


def run(topic: str) -> int:
    """Exit code of the command."""
    if topic == EXIT_CODES:
        write_output(exit_codes.text() + "\n")
        return 0
    asked = [topic, "--help"] if topic else ["--help"]
    parsed = parse(asked)
    return parsed if isinstance(parsed, int) else parsed()
