"""Workers: their answers, and that nothing they or their parent do leaves a process or a port behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moe_plan.errors import ReplicaError, UsageError
from moe_plan.replica.parallel.blame import State, blame
from moe_plan.replica.parallel.environment import first_host, is_first_rank, joined
from moe_plan.replica.parallel.launch import launch
from moe_plan.replica.parallel.watch import Task

TESTS = Path(__file__).parent


def is_alive(pid: int) -> bool:
    """Whether the process runs: not gone, and not a zombie that only its parent's wait is missing from."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def pids_in(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def can_listen(port: int) -> bool:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
            server.listen()
        except OSError:
            return False
    return True


@pytest.fixture
def ports(monkeypatch):
    """Ports of the stores that launches open."""
    from moe_plan.replica.parallel import launch as module

    opened = []
    store = module.TCPStore

    def noting(*args, **options):
        opened.append(args[1])
        return store(*args, **options)

    monkeypatch.setattr(module, "TCPStore", noting)
    return opened


def test_answers_come_in_the_order_of_ranks():
    text = "long answers take more than one read; " * 9_000
    told = launch(3, Task("parallel_cases:echo", {"text": text}), timeout_s=60)
    assert [answer["rank"] for answer in told] == [0, 1, 2]
    assert {answer["ranks"] for answer in told} == {3}
    assert all(answer["said"] == text for answer in told)
    assert len({answer["pid"] for answer in told} | {os.getpid()}) == 4
    assert not any(is_alive(answer["pid"]) for answer in told)


def test_threads_of_a_rank():
    task = Task("parallel_cases:environment", {"names": ["OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"]})
    [told] = launch(1, task, timeout_s=60, threads=3)
    assert told["OMP_NUM_THREADS"] == "3"
    assert told["GLOO_SOCKET_IFNAME"] in {"lo", "lo0", os.environ.get("GLOO_SOCKET_IFNAME")}


MISDEEDS = {
    "raise": r"^rank 1 failed: ValueError: no such expert \(in: first step\)$",
    "kill": r"^rank 1 was killed by SIGKILL; it was last seen in: first step$",
    "leave": r"^rank 1 ended with exit code 3 and without a result: something was wrong; it was last seen in: first",
    "sleep": r"^rank 1 did not finish within 2 s; last seen in: first step; ranks 0 and 2 waited in: second step$",
    "stop": r"^rank 1 did not finish within 2 s; last seen in: first step; ranks 0 and 2 waited in: second step$",
}


@pytest.mark.parametrize("how", MISDEEDS)
def test_a_rank_that_fails_is_named_and_nothing_is_left(how, tmp_path, ports):
    pids, start = tmp_path / "pids", time.monotonic()
    arguments = {"how": how, "culprit": 1, "pids": str(pids)}
    timeout_s = 2 if how in {"sleep", "stop"} else 60
    with pytest.raises(ReplicaError, match=MISDEEDS[how]) as failure:
        launch(3, Task("parallel_cases:misbehave", arguments), timeout_s)
    assert time.monotonic() - start < min(timeout_s, 15) + 5
    assert failure.value.exit_code == 5
    assert len(pids_in(pids)) == 3
    assert not any(is_alive(pid) for pid in pids_in(pids))
    assert len(ports) == 1
    assert can_listen(ports[0])


def test_a_rank_killed_between_exchanges(tmp_path, ports):
    """The others' exchanges fail too; the cause is named, not its echo."""
    pids = tmp_path / "pids"
    with pytest.raises(ReplicaError, match=r"^rank 1 was killed by SIGKILL; .*dispatch of payload, layer 0$"):
        launch(2, Task("parallel_cases:die_between_exchanges", {"pids": str(pids)}), timeout_s=60)
    assert not any(is_alive(pid) for pid in pids_in(pids))
    assert can_listen(ports[0])


def test_a_task_that_is_not_there():
    with pytest.raises(ReplicaError, match=r"rank 0 failed: AttributeError: .*no_such_task"):
        launch(1, Task("parallel_cases:no_such_task", {}), timeout_s=60)


def started(code: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A parent of its own, that launches workers."""
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    program = (
        "import json, sys\n"
        "from moe_plan.replica.parallel.launch import launch\n"
        "from moe_plan.replica.parallel.watch import Task\n"
        "from moe_plan.errors import MoePlanError\n"
        f"try:\n    {code}\n"
        "except MoePlanError as error:\n    print(error, flush=True)\n    sys.exit(error.exit_code)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_workers_end_with_their_parent(number, tmp_path):
    pids = tmp_path / "pids"
    arguments = {"how": "sleep", "culprit": 1, "pids": str(pids)}
    parent = started(f"launch(2, Task('parallel_cases:misbehave', {arguments!r}), 600)")
    try:
        assert wait_until(lambda: len(pids_in(pids)) == 2, 60)
        assert all(is_alive(pid) for pid in pids_in(pids))
        parent.send_signal(number)
        parent.wait(20)
        assert parent.returncode != 0
        assert wait_until(lambda: not any(is_alive(pid) for pid in pids_in(pids)), 5)
    finally:
        parent.kill()
        parent.communicate()


def of_torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    return {name: str(value) for name, value in place.items()}


def test_ranks_that_torchrun_started(tmp_path):
    """Each runs one worker, over a real group, and has every answer; then rank 1 has its worker killed."""
    port, pids, start = free_port(), tmp_path / "pids", time.monotonic()
    cases = [[[2, 1], 3, 2]]
    code = (
        f"print(json.dumps(launch(2, Task('parallel_cases:layers', {{'cases': {cases!r}}}), 100)), flush=True); "
        f"launch(2, Task('parallel_cases:die_between_exchanges', {{'pids': {str(pids)!r}}}), 300)"
    )
    parents = [started(code, of_torchrun(rank, 2, port)) for rank in range(2)]
    told = [parent.communicate(timeout=110)[0].splitlines() for parent in parents]
    assert [parent.returncode for parent in parents] == [5, 5]
    assert time.monotonic() - start < 100
    assert told[0][0] == told[1][0]
    assert [len(of_rank[0]["bits"]) for of_rank in json.loads(told[0][0])] == [2, 1]
    assert all(lines[1].startswith("rank 1 was killed by SIGKILL") for lines in told)
    assert len(pids_in(pids)) == 2
    assert not any(is_alive(pid) for pid in pids_in(pids))
    assert can_listen(port)


def test_a_group_of_another_size_is_refused(monkeypatch):
    for name, value in of_torchrun(0, 4, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="2 ranks are asked for, and torchrun started 4"):
        launch(2, Task("parallel_cases:echo", {"text": ""}), timeout_s=10)


STEP = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[07-09,12],big3",
    "SLURM_JOB_ID": "40123",
}


def test_places_of_torchrun_and_slurm():
    assert joined({}) is None
    assert is_first_rank({})
    place = joined({**of_torchrun(1, 3, 29500), "LOCAL_RANK": "0"})
    assert place[:6] == (1, 3, 0, "127.0.0.1", 29500, False)
    assert joined(of_torchrun(0, 3, 29500)).keeps_store
    assert not joined({**of_torchrun(0, 3, 29500), "TORCHELASTIC_USE_AGENT_STORE": "True"}).keeps_store
    assert not is_first_rank(of_torchrun(1, 3, 29500))
    assert joined(STEP)[:6] == (5, 8, 1, "gpu07", 20_000 + 123, False)
    assert joined({**STEP, "MASTER_ADDR": "head", "MASTER_PORT": "777"})[3:5] == ("head", 777)
    # A batch script is one process, whatever was asked for.
    assert joined({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "gpu[07-09]"}) is None
    assert first_host("node3,node4") == "node3"
    assert first_host("n[001,003-9]") == "n001"
    for wrong in ({**STEP, "SLURM_PROCID": "x"}, {**STEP, "SLURM_STEP_NODELIST": ""}, of_torchrun(0, 3, "p")):
        with pytest.raises(UsageError, match="cannot be understood"):
            joined(wrong)


def test_the_cause_is_named_and_not_its_echo():
    echo = State("echo", "connection closed", 7, "combine of layer 1")
    died = State("died", "was killed by SIGKILL", 6, "dispatch of layer 1")
    running = State("running", "", 6, "dispatch of layer 1")
    ahead = State("running", "", 7, "combine of layer 1")

    def told(*states: State, is_late: bool = False) -> str:
        return blame(dict(enumerate(states)), 30, is_late=is_late)

    assert told(echo, died, echo) == "rank 1 was killed by SIGKILL; it was last seen in: dispatch of layer 1"
    assert told(ahead, running, is_late=True) == (
        "rank 1 did not finish within 30 s; last seen in: dispatch of layer 1; rank 0 waited in: combine of layer 1"
    )
    assert (
        told(ahead, ahead, is_late=True)
        == "ranks 0 and 1 did not finish within 30 s; last seen in: combine of layer 1"
    )
    assert told(echo, State("silent")) == (
        "rank 1 did not answer; rank 0 could not exchange: connection closed (in: combine of layer 1)"
    )
    assert told(echo, running).endswith("rank 1 had not ended; last seen in: dispatch of layer 1")
    assert told(State("done"), State("failed", "ValueError: no", 2, "starting")) == (
        "rank 1 failed: ValueError: no (in: starting)"
    )
    assert told(State("done"), State("done"), is_late=True).startswith("every rank was done")
    both = told(died, State("failed", "OSError: disk", 2, "starting"))
    assert "rank 0 was killed" in both
    assert "rank 1 failed: OSError: disk" in both


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK is set, and MASTER_ADDR and MASTER_PORT are not"),
        ({"RANK": "0"}, "RANK is set, and WORLD_SIZE and MASTER_ADDR and MASTER_PORT are not"),
        ({**of_torchrun(0, 2, 29500), "RANK": "abc"}, "RANK is 'abc', and should be a whole number"),
        ({**of_torchrun(0, 2, 29500), "MASTER_PORT": "-1"}, "MASTER_PORT is '-1', and should be"),
        ({"SLURM_STEP_NUM_TASKS": "9" * 30}, "SLURM_STEP_NUM_TASKS is '999"),
    ],
)
def test_half_an_environment_is_an_error(environment, said):
    with pytest.raises(UsageError, match=said):
        joined(environment)


def test_a_container_that_says_it_is_the_first_of_one_is_no_rank():
    assert joined({"RANK": "0", "WORLD_SIZE": "1"}) is None
