"""The line on standard error that says what a long command is at."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from conftest import bare_environment
from fake_witness import FAKE, run_fake


class TestProgress:
    """The line on standard error: on a terminal, after half a second, and gone in the end."""

    def run(self, outcomes: str, *arguments: str, **extra: str) -> tuple[int, str]:
        """Exit code, and what a terminal at standard error receives."""
        master, slave = pty.openpty()
        with open(slave, "wb") as terminal:
            done = subprocess.run(
                [sys.executable, FAKE, outcomes, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=terminal,
                env=bare_environment(**extra),
                timeout=30,
                check=False,
            )
        received = b""
        try:
            while piece := os.read(master, 65_536):
                received += piece
        except OSError:
            pass
        os.close(master)
        return done.returncode, received.decode()

    def test_it_is_shown_and_erased(self):
        code, shown = self.run("dbrx=slow,grok-1=slow", "verify", "mixtral-8x7b", "dbrx", "grok-1")
        assert code == 0
        assert [text for text in shown.split("\r\x1b[K") if text] == [
            "verifying dbrx, 2 of 3", "verifying grok-1, 3 of 3",
        ]  # fmt: skip
        assert shown.endswith("\r\x1b[K")

    def test_one_model_has_no_number(self):
        assert "\r\x1b[Kverifying dbrx\r\x1b[K" in self.run("dbrx=slow", "compare", "--verify", "dbrx")[1]

    def test_what_is_quick_shows_nothing(self):
        assert self.run("", "verify", "dbrx") == (0, "")

    @pytest.mark.parametrize(("options", "environment"), [(("-q",), {}), ((), {"TERM": "dumb"})])
    def test_it_can_be_silent(self, options, environment):
        assert self.run("dbrx=slow", "verify", "dbrx", *options, **environment) == (0, "")

    def test_it_is_erased_before_an_error(self):
        code, shown = self.run("dbrx=slow,grok-1=elsewhere", "verify", "dbrx", "grok-1")
        assert code == 4
        assert shown.endswith("\r\x1b[Kmoe-plan: error: no device cpu here\r\n")

    def test_a_pipe_gets_none(self):
        assert run_fake("dbrx=slow", "verify", "dbrx").err == ""
