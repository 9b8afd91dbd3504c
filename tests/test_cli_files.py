"""`-o FORMAT[=PATH]`: files written whole, and refused before anything is computed."""

from __future__ import annotations

import os
import sys

import pytest
from conftest import run_cli


def test_files_hold_what_standard_output_would(tmp_path):
    for form, suffix in (("json", "json"), ("csv", "csv"), ("markdown", "md"), ("table", "txt")):
        ran = run_cli("compare", "dbrx", "grok-1", "--format", form, "-o", form, cwd=tmp_path)
        assert (ran.code, ran.err) == (0, "")
        assert (tmp_path / f"compare.{suffix}").read_text() == ran.out
    assert len(list(tmp_path.iterdir())) == 4


def test_several_files_at_once(tmp_path):
    ran = run_cli("models", "-o", f"json={tmp_path / 'a b.json'}", "--output", f"csv={tmp_path / 'm.csv'}")
    assert ran.code == 0
    assert ran.out.startswith("model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b.json", "m.csv"]


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert run_cli("models", "-o", f"json={tmp_path / 'link.json'}").code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text().startswith("{")


def test_refused_before_computing(tmp_path, small_spec):
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    refusals = {
        f"json={tmp_path}": "it is a folder",
        f"json={tmp_path / 'no' / 'x.json'}": "its folder does not exist",
        f"json={small_spec}": "it is also an input",
        "json=/dev/null": "it is not a regular file",
        "json=/dev/stdout": "it is not a regular file",
        f"json={tmp_path / 'fifo'}": "it is not a regular file",
        f"json={tmp_path / 'loop'}": "cannot write",
        f"json={tmp_path / ('x' * 300)}": "File name too long",
        "json=/proc/x.json": "cannot write",
    }
    before = sorted(tmp_path.iterdir())
    for request, reason in refusals.items():
        ran = run_cli("compare", str(small_spec), "-o", request)
        assert (ran.code, ran.out) == (4, ""), request
        assert reason in ran.err
    assert sorted(tmp_path.iterdir()) == before
    # The name is wrong too: the path is complained about first, so nothing was read.
    assert run_cli("compare", "nothing", "-o", f"json={tmp_path}").code == 4


def test_the_same_path_twice_is_refused(tmp_path):
    path = tmp_path / "x"
    ran = run_cli("models", "-o", f"json={path}", "-o", f"csv={path}")
    assert (ran.code, ran.out) == (4, "")
    assert "it is also another output" in ran.err


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    ran = run_cli("models", "-o", f"json={tmp_path / 'x'}")
    tmp_path.chmod(0o700)
    assert ran.code == 4
    assert "its folder is not writable" in ran.err


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    from moe_plan.cli.files import targets, write_files
    from moe_plan.errors import UnavailableError

    def full(*_):
        raise OSError(28, "No space left on device")

    (target,) = targets([f"json={tmp_path / 'x.json'}"], "compare")
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(UnavailableError, match="No space left"):
        write_files([(target, "text")])
    assert list(tmp_path.iterdir()) == []
