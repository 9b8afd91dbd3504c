"""Paths that are no readable file, standard input, and what the worst files cost in time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_bytes import GENERATED, GOOD, WORST

from moe_plan.errors import InputError, Problem
from moe_plan.spec.load import load_spec, load_spec_with_notes

ROOT = Path(__file__).parent.parent


def path_problem(path: str) -> Problem:
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert caught.value.exit_code == 3
    (problem,) = caught.value.problems
    rendered = problem.render()
    assert rendered.isprintable()
    rendered.encode()
    return problem


def test_path_to_a_good_file(tmp_path: Path) -> None:
    for name in ("a b.yaml", "line\nbreak.yaml", "caf\u00e9.yaml", "no_suffix"):
        path = tmp_path / name
        path.write_bytes(GOOD)
        assert load_spec(str(path)).name == "tiny"
        assert load_spec_with_notes(str(path))[1] == ()


def test_file_with_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.yaml")
    Path(path).write_bytes(b"name: 1\n")
    with pytest.raises(InputError) as caught:
        load_spec(path)
    str(caught.value).encode()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "no such file"),
        ("", "no such file"),
        ("folder", "is a directory"),
        ("dangling", "no such file"),
        ("loop", "too many symbolic links"),
        ("fifo", "not a regular file"),
        ("file/inside.yaml", "a part of the path is not a directory"),
        ("x" * 300, "the name is too long"),
        ("nul\0.yaml", "a character that no file name has"),
        ("surrogate\udcff.yaml", "no such file"),
        ("lone\ud800.yaml", "a character that no file name has"),
        ("line\nbreak.yaml", "no such file"),
    ],
)
def test_bad_path(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(GOOD)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    problem = path_problem(f"{tmp_path}/{name}" if name else "")
    assert (problem.code, message in problem.message) == ("MP101", True), problem.render()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/stdin"])
def test_devices_are_not_read(path: str) -> None:
    if not Path(path).exists() or Path(path).is_file():
        pytest.skip(f"{path} is no device here")
    assert path_problem(path).code == "MP101"


def test_file_of_proc_is_read_to_the_limit_at_most() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    with pytest.raises(InputError) as caught:
        load_spec("/proc/self/status")
    assert "MP101" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_bytes(GOOD)
    path.chmod(0)
    assert path_problem(str(path)).message == "permission denied"


def test_permission_denied_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(os, "open", refuse)
    assert path_problem("secret.yaml").message == "permission denied"


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".PTH", ".pkl", ".ckpt", ".safetensors", ".gguf"])
def test_weight_files_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"model{suffix}")
    problem = path_problem(str(tmp_path / f"model{suffix}"))
    assert problem.code == "MP103"
    assert "give a spec in YAML" in problem.message


def test_file_larger_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(10**9)
    assert path_problem(str(path)).code in ("MP102", "MP104")


# Standard input

READ_STDIN = "import sys; from moe_plan.spec.load import load_spec; from moe_plan.errors import InputError\n"
READ_STDIN += "try: print(load_spec('-').name)\nexcept InputError as error: print(error); sys.exit(3)"


@pytest.mark.parametrize(
    ("shell", "code", "output"),
    [
        ("cat good.yaml | {}", 0, "tiny"),
        ("{} < /dev/null", 3, "<stdin>: error[MP106] the file is empty"),
        ("{} < /dev/zero", 3, "<stdin>: error[MP102] larger than 256 KiB, the most that a spec may have"),
        ("{} <&-", 3, "<stdin>: error[MP101] standard input is closed"),
    ],
)
def test_standard_input(tmp_path: Path, shell: str, code: int, output: str) -> None:
    (tmp_path / "good.yaml").write_bytes(GOOD)
    (tmp_path / "read.py").write_text(READ_STDIN)
    command = shell.format(f"'{sys.executable}' read.py")
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, output, "")


# Cost

# Hard limits that the kernel enforces, far above what is needed; benchmarks/bad_input.py prints the cost.
CPU_SECONDS = 10
EXTRA_BYTES = 200 << 20
LIMITED = f"""
import resource, sys
from moe_plan.errors import InputError
from moe_plan.spec.load import load_spec
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {EXTRA_BYTES},) * 2)
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS},) * 2)
try:
    load_spec(sys.argv[1])
except InputError as error:
    print(str(error).count("error["))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", [*WORST, "many_errors"])
def test_the_worst_are_refused_within_200_mb(tmp_path: Path, name: str) -> None:
    path = tmp_path / "worst.yaml"
    many = GOOD + b"".join(b"k%d: 1\n" % number for number in range(9_000))
    path.write_bytes(many if name == "many_errors" else GENERATED[name][0])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
