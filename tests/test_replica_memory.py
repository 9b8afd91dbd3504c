"""Free memory on machines made of files, limits of nested control groups, and the guard's refusal."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from moe_plan.errors import ReplicaError, UnavailableError
from moe_plan.hardware import host
from moe_plan.replica.memory import Available, available_memory, budget_bytes, cuda_memory, guard

GIB = 1 << 30
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_NO_LIMIT = "9223372036854771712"


@pytest.fixture(autouse=True)
def no_limits_of_this_process(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Machine:
    """Files under a folder that stands for `/`."""

    def __init__(self, root: Path, available_gib: float = 16) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal: 99 kB\nMemAvailable:   {int(available_gib * 2**20)} kB\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def group(self, path: str, **files: object) -> None:
        """Files of one group: `max=` is memory.max, `stat=` memory.stat."""
        (self.root / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            self.write(f"{path}/memory.{name}", f"{text}\n")

    @property
    def found(self) -> Available:
        return available_memory(self.root, "linux")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def v2(machine):
    machine.write("proc/self/mountinfo", V2_MOUNT)
    machine.write("proc/self/cgroup", "0::/user.slice/job.scope\n")
    machine.group("sys/fs/cgroup/user.slice/job.scope", max="max", current="1000")
    return machine


@pytest.fixture
def v1(machine):
    machine.write("proc/self/mountinfo", V1_MOUNT)
    machine.write("proc/self/cgroup", "5:devices:/\n4:cpu,memory:/docker/abc\n0::/\n")
    return machine


def test_without_groups_the_kernel_is_believed(machine):
    assert machine.found == (16 * GIB, "MemAvailable in /proc/meminfo")


def test_old_kernels_have_no_such_figure(machine):
    machine.write("proc/meminfo", "MemFree: 2048 kB\nCached: 1024 kB\n")
    assert machine.found == (3 << 20, "MemFree and Cached in /proc/meminfo")


@pytest.mark.parametrize("text", ["", "MemAvailable: lots kB\n", "nonsense\n\x00\xff"])
def test_a_machine_that_does_not_say(machine, text):
    machine.write("proc/meminfo", text)
    with pytest.raises(UnavailableError, match="meminfo"):
        _ = machine.found


class TestVersion2:
    here = "sys/fs/cgroup/user.slice/job.scope"

    def test_limit_less_what_is_used_and_cannot_be_dropped(self, v2):
        v2.group(self.here, max=4 * GIB, current=3 * GIB, stat=f"anon {2 * GIB}\ninactive_file {GIB // 2}")
        assert v2.found == (GIB + GIB // 2, f"the limit in /{self.here}/memory.max")

    def test_the_tightest_group_above_counts(self, v2):
        v2.group(self.here, max=8 * GIB, current=GIB)
        v2.group("sys/fs/cgroup/user.slice", max=6 * GIB, current=5 * GIB)
        assert v2.found == (GIB, "the limit in /sys/fs/cgroup/user.slice/memory.max")

    def test_the_mount_point_itself_counts(self, v2):
        v2.group("sys/fs/cgroup", max=2 * GIB, current=0)
        assert v2.found.bytes == 2 * GIB

    def test_the_throttle_is_a_limit_too(self, v2):
        v2.group(self.here, max=8 * GIB, high=2 * GIB, current=GIB)
        assert v2.found == (GIB, f"the limit in /{self.here}/memory.high")

    def test_the_machine_may_have_less_than_the_limit(self, v2):
        v2.group(self.here, max=64 * GIB, current=0)
        assert v2.found == (16 * GIB, "MemAvailable in /proc/meminfo")

    def test_more_used_than_allowed_leaves_nothing(self, v2):
        v2.group(self.here, max=GIB, current=2 * GIB)
        assert v2.found.bytes == 0

    def test_no_more_is_dropped_than_was_used(self, v2):
        v2.group(self.here, max=GIB, current=1000, stat=f"inactive_file {5 * GIB}")
        assert v2.found.bytes == GIB

    @pytest.mark.parametrize(
        "text", ["max", "", "-1", "1e9", "９", "0x10", "9" * 40, V1_NO_LIMIT, str(1 << 63)]
    )
    def test_what_is_no_limit(self, v2, text):
        v2.group(self.here, max=text, high=text, current="1000")
        assert v2.found.bytes == 16 * GIB

    def test_a_limit_of_nothing(self, v2):
        v2.group(self.here, max=0, current=0)
        assert v2.found.bytes == 0

    def test_usage_that_cannot_be_read_counts_as_none(self, v2):
        v2.group(self.here, max=GIB, current="?")
        assert v2.found.bytes == GIB

    def test_a_container_sees_its_own_group_as_the_root(self, v2):
        v2.write("proc/self/cgroup", "0::/\n")
        v2.group("sys/fs/cgroup", max=2 * GIB, current=GIB)
        assert v2.found.bytes == GIB

    def test_a_container_without_a_namespace_of_its_own(self, v2):
        """The path is the host's, and what is mounted begins at the container's group."""
        v2.write("proc/self/mountinfo", V2_MOUNT.replace(" / /sys", " /docker/abc /sys"))
        v2.write("proc/self/cgroup", "0::/docker/abc/inner\n")
        v2.group("sys/fs/cgroup/inner", max=3 * GIB, current=0)
        assert v2.found.bytes == 3 * GIB
        v2.write("proc/self/cgroup", "0::/docker/abcdef\n")
        v2.group("sys/fs/cgroup", max=5 * GIB, current=0)
        assert v2.found.bytes == 5 * GIB

    def test_a_group_outside_of_what_is_mounted(self, v2):
        v2.write("proc/self/cgroup", "0::/../../elsewhere\n")
        v2.group("sys/fs/cgroup", max=2 * GIB, current=0)
        assert v2.found.bytes == 2 * GIB

    def test_a_group_that_is_gone(self, v2):
        v2.write("proc/self/cgroup", "0::/user.slice/gone/deeper\n")
        v2.group("sys/fs/cgroup/user.slice", max=2 * GIB, current=0)
        assert v2.found.bytes == 2 * GIB

    def test_the_usual_mount_point_where_mountinfo_is_missing(self, v2):
        (v2.root / "proc/self/mountinfo").unlink()
        v2.group(self.here, max=2 * GIB, current=0)
        assert v2.found.bytes == 2 * GIB

    def test_a_mount_point_with_a_blank(self, v2):
        v2.write("proc/self/mountinfo", V2_MOUNT.replace("/sys/fs/cgroup", r"/mnt/my\040groups"))
        v2.group("mnt/my groups/user.slice", max=2 * GIB, current=0)
        assert v2.found.bytes == 2 * GIB

    @pytest.mark.parametrize("text", ["", "\n", "::", "0:", "no colon", "\x00", "30 23 - \n - cgroup2"])
    def test_odd_tables_are_passed_over(self, v2, text):
        v2.write("proc/self/cgroup", text)
        v2.write("proc/self/mountinfo", text)
        assert v2.found.bytes == 16 * GIB


class TestVersion1:
    here = "sys/fs/cgroup/memory/docker/abc"

    def test_limit_usage_and_inactive_files(self, v1):
        v1.group(
            self.here,
            limit_in_bytes=4 * GIB,
            usage_in_bytes=3 * GIB,
            stat=f"inactive_file 1\ntotal_inactive_file {GIB}",
        )
        assert v1.found == (2 * GIB, f"the limit in /{self.here}/memory.limit_in_bytes")

    def test_the_largest_number_is_no_limit(self, v1):
        v1.group(self.here, limit_in_bytes=V1_NO_LIMIT, usage_in_bytes=3 * GIB)
        assert v1.found.bytes == 16 * GIB

    def test_groups_above(self, v1):
        v1.group(self.here, limit_in_bytes=V1_NO_LIMIT, usage_in_bytes=GIB)
        v1.group("sys/fs/cgroup/memory/docker", limit_in_bytes=3 * GIB, usage_in_bytes=2 * GIB)
        assert v1.found.bytes == GIB

    def test_both_versions_at_once(self, v1):
        v1.write(
            "proc/self/mountinfo",
            f"{V1_MOUNT}\n{V2_MOUNT.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified')}",
        )
        v1.group(self.here, limit_in_bytes=3 * GIB, usage_in_bytes=0)
        v1.group("sys/fs/cgroup/unified", max=2 * GIB, current=0)
        assert v1.found.bytes == 2 * GIB

    def test_the_hierarchy_of_another_controller_is_not_read(self, v1):
        v1.write("proc/self/mountinfo", V1_MOUNT.replace("rw,memory", "rw,cpu"))
        v1.group(self.here, limit_in_bytes=GIB, usage_in_bytes=0)
        # No mount of the memory controller is told: the usual place is looked at.
        assert v1.found.bytes == GIB
        v1.write("proc/self/cgroup", "4:cpu:/docker/abc\n")
        assert v1.found.bytes == 16 * GIB


class TestLimitsOfTheProcess:
    def limited(self, monkeypatch, which: int, n_bytes: int) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        monkeypatch.setattr(
            resource, "getrlimit", lambda asked: (n_bytes, n_bytes) if asked == which else unlimited
        )

    @pytest.mark.parametrize(
        ("which", "flag", "used"), [("RLIMIT_AS", "-v", 1000), ("RLIMIT_DATA", "-d", 600)]
    )
    def test_what_the_limit_leaves(self, machine, monkeypatch, which, flag, used):
        machine.write("proc/self/statm", "1000 200 100 30 0 600 0\n")
        self.limited(monkeypatch, getattr(resource, which), GIB)
        expected = GIB - used * resource.getpagesize()
        assert machine.found == (expected, f"the process's own limit, ulimit {flag}")

    def test_without_statm_the_limit_itself(self, machine, monkeypatch):
        self.limited(monkeypatch, resource.RLIMIT_AS, GIB)
        assert machine.found.bytes == GIB

    def test_a_limit_below_what_is_used(self, machine, monkeypatch):
        machine.write("proc/self/statm", "1000000 200 100 30 0 600 0\n")
        self.limited(monkeypatch, resource.RLIMIT_AS, 1 << 20)
        assert machine.found.bytes == 0


VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                                3000.
Pages active:                            500000.
Pages inactive:                            2000.
Pages speculative:                         1000.
Pages throttled:                              0.
"""


class TestOtherSystems:
    def test_macos_pages(self, tmp_path, monkeypatch):
        monkeypatch.setattr(host.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=VM_STAT))
        assert available_memory(tmp_path, "darwin").bytes == 6000 * 16384

    @pytest.mark.parametrize("stdout", ["", "page size of 16384 bytes", VM_STAT.replace("16384", "many")])
    def test_macos_that_prints_something_else(self, tmp_path, monkeypatch, stdout):
        monkeypatch.setattr(host.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=stdout))
        with pytest.raises(UnavailableError, match="vm_stat"):
            available_memory(tmp_path, "darwin")

    def test_macos_without_the_command(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise FileNotFoundError

        monkeypatch.setattr(host.subprocess, "run", fail)
        with pytest.raises(UnavailableError, match="FileNotFoundError"):
            available_memory(tmp_path, "darwin")

    @pytest.mark.parametrize("platform", ["win32", "emscripten"])
    def test_where_it_cannot_be_told(self, tmp_path, platform):
        with pytest.raises(UnavailableError, match=f"cannot be told on {platform}"):
            available_memory(tmp_path, platform)


class TestCuda:
    def torch(self, monkeypatch, devices: int) -> None:
        cuda = SimpleNamespace(
            is_available=lambda: devices > 0,
            device_count=lambda: devices,
            mem_get_info=lambda _: (10 * GIB, 80 * GIB),
            memory_reserved=lambda _: 4 * GIB,
            memory_allocated=lambda _: GIB,
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="2.13"))

    def test_free_and_reserved_but_unused(self, monkeypatch):
        self.torch(monkeypatch, devices=2)
        assert cuda_memory(1) == (13 * GIB, "free on CUDA device 1")

    @pytest.mark.parametrize(("devices", "index"), [(0, 0), (1, 1)])
    def test_no_such_device(self, monkeypatch, devices, index):
        self.torch(monkeypatch, devices)
        with pytest.raises(UnavailableError, match=f"no CUDA device {index}"):
            cuda_memory(index)


class TestGuard:
    available = Available(1000, "a test")

    @pytest.mark.parametrize("needed", [0, 699, 700])
    def test_up_to_seventy_percent_pass(self, needed):
        guard(needed, self.available, what="it", hint="none")

    def test_above_is_refused_with_all_that_was_known(self):
        with pytest.raises(ReplicaError) as refused:
            guard(
                9 * GIB,
                Available(10 * GIB, "MemAvailable in /proc/meminfo"),
                what="the replica of big at scale 1/2",
                hint="the largest scale that fits is 1/8",
            )
        assert refused.value.exit_code == 5
        assert str(refused.value) == (
            "the replica of big at scale 1/2 needs 9.00 GiB; 10.0 GiB are available (MemAvailable in "
            "/proc/meminfo), of which a run may take 70 %, 7.00 GiB; the largest scale that fits is 1/8"
        )

    def test_one_byte_more_is_refused(self):
        with pytest.raises(ReplicaError):
            guard(701, self.available, what="it", hint="none")

    def test_a_hint_is_found_out_only_when_needed(self):
        asked = []

        def hint(budget: int) -> str:
            asked.append(budget)
            return "a smaller one fits"

        guard(700, self.available, what="it", hint=hint)
        assert asked == []
        with pytest.raises(ReplicaError, match="a smaller one fits"):
            guard(701, self.available, what="it", hint=hint)
        assert asked == [700]

    def test_a_promise_below_seventy_percent_binds(self):
        guard(500, self.available, what="it", hint="none", max_memory=500)
        with pytest.raises(ReplicaError, match=r"needs 501 B; --max-memory allows 500 B; none"):
            guard(501, self.available, what="it", hint="none", max_memory=500)

    def test_a_promise_above_changes_nothing(self):
        with pytest.raises(ReplicaError, match="70 %"):
            guard(701, self.available, what="it", hint="none", max_memory=900)

    def test_budgets(self):
        assert budget_bytes(self.available) == 700
        assert budget_bytes(self.available, 500) == 500
        assert budget_bytes(self.available, 900) == 700
        assert budget_bytes(Available(0, "a test")) == 0

    def test_huge_needs_are_compared_exactly(self):
        with pytest.raises(ReplicaError, match="EiB"):
            guard(10**30, Available(1 << 50, "a test"), what="it", hint="none")


def test_this_machine_answers_at_once():
    available_memory()
    start = time.perf_counter()
    found = available_memory()
    assert time.perf_counter() - start < 0.2
    assert found.bytes > 0


def test_a_real_limit_on_a_real_process():
    code = "from moe_plan.replica.memory import available_memory; print(*available_memory())"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 2000000 && exec {sys.executable} -c '{code}'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )
    n_bytes, _, source = done.stdout.strip().partition(" ")
    assert source == "the process's own limit, ulimit -v"
    assert 0 < int(n_bytes) < 2_000_000 * 1024
