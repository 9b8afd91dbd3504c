"""`local`: what drivers and kernels say, with machines made for the test; nothing hangs and nothing is guessed."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from moe_plan.errors import InputError, UnavailableError
from moe_plan.hardware import probes
from moe_plan.hardware.local import local_cluster
from moe_plan.hardware.machine import look
from moe_plan.hardware.notation import written
from moe_plan.hardware.probes import Edge, Found, ProbeError
from moe_plan.hardware.resolve import shelf
from moe_plan.plan.this_machine import seen
from moe_plan.report import hardware_local as report

SHELF = shelf()
MIB, GIB = 1 << 20, 1 << 30
MEMINFO = "MemTotal:       131072000 kB\nMemFree:        1000 kB\nMemAvailable:   65536000 kB\n"


class NVMLError(Exception):
    pass


class Nvml:
    """NVML of a machine with these (name, bytes), each with its slices."""

    NVMLError = NVMLError

    def __init__(self, *gpus, slices=(), broken=(), slow=0.0):
        self.gpus, self.slices, self.broken, self.slow = gpus, slices, broken, slow
        self.is_open = False

    def nvmlInit(self):
        time.sleep(self.slow)
        if "init" in self.broken:
            raise NVMLError("driver not loaded")
        self.is_open = True

    def nvmlShutdown(self):
        self.is_open = False

    def nvmlDeviceGetCount(self):
        assert self.is_open
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetMigMode(self, handle):
        if "mig" in self.broken:
            raise NVMLError("not supported")
        return (1 if self.slices else 0, 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= len(self.slices):
            raise NVMLError("not found")
        return self.slices[index]

    def nvmlDeviceGetName(self, handle):
        return handle[0]

    def nvmlDeviceGetMemoryInfo(self, handle):
        if handle[1] is None:
            raise NVMLError("not supported")
        return SimpleNamespace(total=handle[1])


def no_nvml():
    raise ProbeError("nvidia-ml-py is not installed")


def commands(**printed):
    """A machine on which only these commands exist."""

    def run(command):
        name = command[0].rpartition("/")[2]
        key = f"{name} {command[-1]}" if name == "sysctl" else name
        if key not in printed:
            raise ProbeError(f"no {command[0]}")
        return printed[key]

    return run


def edge(tmp_path: Path, nvml=None, environ=None, platform="linux", **printed) -> Edge:
    (tmp_path / "proc").mkdir(exist_ok=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    provider = no_nvml if nvml is None else lambda: nvml
    return Edge(tmp_path, platform, environ or {}, commands(**printed), provider)


def cluster(here: Edge, text: str = "local"):
    return local_cluster(written(text), SHELF.catalogue, SHELF.by_name, look(here))


H100 = ("NVIDIA H100 80GB HBM3", 81559 * MIB)


class TestNvidia:
    def test_gpus_of_the_catalogue(self, tmp_path):
        nvml = Nvml(*[H100] * 8)
        found = cluster(edge(tmp_path, nvml))
        assert (found.device.name, found.nodes, found.per_node, found.domain) == ("h100-sxm", 1, 8, 8)
        assert found.device.memory().bytes == int(79.19 * GIB)
        assert found.notes == ("NVIDIA H100 80GB HBM3 is taken as h100-sxm",)
        assert found.host_memory.amount == 131072000 << 10
        assert not nvml.is_open

    def test_names_may_be_bytes(self, tmp_path):
        assert (
            cluster(edge(tmp_path, Nvml((b"NVIDIA GeForce RTX 3090", 24576 * MIB)))).device.name == "rtx-3090"
        )

    def test_some_of_them(self, tmp_path):
        here = edge(tmp_path, Nvml(*[H100] * 8))
        assert cluster(here, "local:2").devices == cluster(here, "2xlocal").devices == 2
        with pytest.raises(InputError, match="this machine has 8"):
            cluster(here, "local:9")

    def test_a_card_of_another_size_than_its_name(self, tmp_path):
        found = cluster(edge(tmp_path, Nvml(("NVIDIA GeForce RTX 4090", 49140 * MIB))))
        assert found.device.name == "rtx-4090"
        assert found.device.memory().bytes == 49140 * MIB - GIB * 45 // 100
        assert "its driver reports 49,140 MiB" in found.notes

    def test_a_family_is_told_by_size(self, tmp_path):
        found = cluster(edge(tmp_path, Nvml(("NVIDIA A100", 40960 * MIB))))
        assert found.device.name == "a100-sxm4-40"
        assert found.device.memory().bytes == 40960 * MIB - GIB * 45 // 100
        assert cluster(edge(tmp_path, Nvml(("NVIDIA H100", 95830 * MIB)))).device.name == "h100-nvl"

    def test_slices_of_a_cut_gpu(self, tmp_path):
        slices = [("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864 * MIB)] * 7
        found = cluster(edge(tmp_path, Nvml(("NVIDIA A100-SXM4-40GB", 40960 * MIB), slices=slices)))
        assert (found.device.name, found.devices, found.domain) == ("a100-sxm4-40/1g.5gb", 7, 1)
        assert found.device.memory().bytes == 4864 * MIB

    def test_a_gpu_that_cannot_be_cut(self, tmp_path):
        assert cluster(edge(tmp_path, Nvml(H100, broken=("mig",)))).device.name == "h100-sxm"

    def test_a_stranger_has_its_memory_and_nothing_else(self, tmp_path):
        found = cluster(edge(tmp_path, Nvml(("NVIDIA Zork 9000\x1b[31m", 50_000 * MIB))))
        assert found.device.memory().bytes == 50_000 * MIB - GIB * 45 // 100
        assert found.device.bandwidth() is found.device.rate("bf16") is found.link is None
        assert "is not in the catalogue" in found.notes[0]
        assert found.notes[0].isprintable()

    def test_a_gpu_without_any_memory_told(self, tmp_path):
        here = Edge(tmp_path, "linux", {}, commands(), lambda: Nvml(("NVIDIA Zork", None)))
        found = cluster(here)
        assert found.device.memory() is None
        assert found.host_memory is None

    def test_several_kinds_are_no_cluster(self, tmp_path):
        with pytest.raises(InputError, match="several kinds"):
            cluster(edge(tmp_path, Nvml(H100, ("Tesla T4", 15360 * MIB))))

    def test_memory_that_the_machine_shares(self, tmp_path):
        machine = look(edge(tmp_path, Nvml(("NVIDIA GB10", None))))
        assert machine.accelerators == (Found("NVIDIA GB10", "nvidia", 131072000 << 10),)
        assert machine.notes == ("NVIDIA GB10 tells no memory of its own: it shares the machine's",)

    @pytest.mark.parametrize(
        ("visible", "names"),
        [("0,2", 2), ("", 0), ("7", 0), ("1", 1), ("GPU-abc", 3)],
    )
    def test_the_gpus_that_programs_would_see(self, tmp_path, visible, names):
        machine = look(edge(tmp_path, Nvml(*[H100] * 3), {"CUDA_VISIBLE_DEVICES": visible}))
        assert len(machine.accelerators) == names
        assert len(machine.notes) == 1

    def test_without_the_package_nvidia_smi_is_asked(self, tmp_path):
        printed = "NVIDIA H200, 143771\nNVIDIA H200, 143771\n"
        found = cluster(edge(tmp_path, **{"nvidia-smi": printed}))
        assert (found.device.name, found.devices) == ("h200-sxm", 2)

    @pytest.mark.parametrize("printed", ["", "\n", "No devices were found\n", "\x00", "," * 100])
    def test_nvidia_smi_that_prints_something_else(self, tmp_path, printed):
        machine = look(edge(tmp_path, **{"nvidia-smi": printed}))
        assert machine.accelerators == ()
        assert ("nvidia-smi", "nvidia-smi lists no GPU") in machine.probes

    def test_nvml_that_fails_is_told(self, tmp_path):
        machine = look(edge(tmp_path, Nvml(H100, broken=("init",))))
        assert ("NVML", "NVML failed (NVMLError)") in machine.probes

    def test_nvml_that_hangs_is_left_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr(probes, "LONGEST_WAIT_SECONDS", 0.05)
        started = time.monotonic()
        machine = look(edge(tmp_path, Nvml(H100, slow=2.0)))
        assert time.monotonic() - started < 1.5
        assert ("NVML", "NVML did not answer within 0.05 s") in machine.probes


AMD = {"asic": {"market_name": "AMD Instinct MI300X OAM"}, "vram": {"size": {"value": 196592, "unit": "MB"}}}


class TestAmd:
    @pytest.mark.parametrize("document", [[AMD] * 8, {"gpu_data": [AMD] * 8}])
    def test_amd_smi(self, tmp_path, document):
        found = cluster(edge(tmp_path, **{"amd-smi": json.dumps(document)}))
        assert (found.device.name, found.devices) == ("mi300x", 8)
        assert found.link.amount == 448 * 10**9

    @pytest.mark.parametrize(
        "printed", ["", "{", "{}", "[{}]", "[1]", "null", "[" * 100_000, '[{"asic": 1}]']
    )
    def test_amd_smi_that_prints_something_else(self, tmp_path, printed):
        machine = look(edge(tmp_path, **{"amd-smi": printed}))
        assert machine.accelerators == ()
        assert dict(machine.probes)["amd-smi"].startswith("amd-smi printed nothing that is understood")

    def card(self, tmp_path, name, **files):
        folder = tmp_path / "sys/class/drm" / name / "device"
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text + "\n")

    def test_sysfs(self, tmp_path):
        self.card(tmp_path, "card0", vendor="0x1a03")
        self.card(tmp_path, "card1", vendor="0x1002", mem_info_vram_total=str(24560 * MIB), device="0x744c")
        self.card(tmp_path, "card1-DP-1", vendor="0x1002", mem_info_vram_total="1")
        self.card(tmp_path, "renderD128", vendor="0x1002", mem_info_vram_total="1")
        machine = look(edge(tmp_path))
        assert machine.accelerators == (Found("AMD device 0x744c", "amd", 24560 * MIB),)
        assert dict(machine.probes)["sysfs"] == "1 found"

    def test_sysfs_that_tells_the_name(self, tmp_path):
        self.card(
            tmp_path,
            "card0",
            vendor="0x1002",
            mem_info_vram_total=str(294896 * MIB),
            product_name="AMD Instinct MI355X",
        )
        assert cluster(edge(tmp_path)).device.name == "mi355x"

    def test_a_die_of_a_package_is_a_device(self, tmp_path):
        die = {
            "asic": {"market_name": "AMD Instinct MI250X"},
            "vram": {"size": {"value": 65520, "unit": "MB"}},
        }
        found = cluster(edge(tmp_path, **{"amd-smi": json.dumps([die] * 8)}))
        assert (found.device.name, found.devices, found.domain) == ("mi250x/1of2", 8, 8)
        assert found.device.memory().bytes == 65520 * MIB
        assert found.device.rate("bf16") == 383 * 10**12 // 2


class TestMac:
    def mac(self, tmp_path, name="Apple M4 Max", memory=64 * GIB, limit="0"):
        printed = {
            "sysctl machdep.cpu.brand_string": name,
            "sysctl hw.memsize": str(memory),
            "sysctl iogpu.wired_limit_mb": limit,
        }
        return edge(tmp_path, platform="darwin", **printed)

    def test_three_quarters_may_be_wired(self, tmp_path):
        found = cluster(self.mac(tmp_path))
        assert found.device.name == "apple-m4-max-40"
        assert found.device.memory().bytes == 48 * GIB

    def test_a_raised_limit_counts(self, tmp_path):
        assert cluster(self.mac(tmp_path, limit="57344")).device.memory().bytes == 56 * GIB

    def test_the_machines_memory(self, tmp_path):
        assert look(self.mac(tmp_path)).host_memory_bytes == 64 * GIB

    def test_a_mac_with_an_intel_processor(self, tmp_path):
        machine = look(self.mac(tmp_path, name="Intel(R) Core(TM) i9"))
        assert machine.accelerators == ()
        assert dict(machine.probes)["sysctl"] == "sysctl tells of no Apple silicon"


class TestMachine:
    def test_nothing_is_an_error_of_local_alone(self, tmp_path):
        here = edge(tmp_path)
        machine = look(here)
        assert machine.accelerators == ()
        assert machine.host_memory_bytes == 131072000 << 10
        assert [probe.way for probe in machine.probes] == ["NVML", "nvidia-smi", "amd-smi", "sysfs", "sysctl"]
        with pytest.raises(UnavailableError, match="no accelerator was found on this machine") as caught:
            cluster(here)
        assert caught.value.exit_code == 4

    def test_a_control_group_bounds_what_is_free(self, tmp_path):
        here = edge(tmp_path)
        (tmp_path / "proc/self").mkdir()
        (tmp_path / "proc/self/cgroup").write_text("0::/\n")
        group = tmp_path / "sys/fs/cgroup"
        group.mkdir(parents=True)
        (group / "memory.max").write_text("3000\n")
        (group / "memory.current").write_text("1000\n")
        assert look(here).available == (2000, "the limit in /sys/fs/cgroup/memory.max")

    def test_an_empty_machine(self, tmp_path):
        machine = look(Edge(tmp_path, "plan9", {}, commands(), no_nvml))
        assert (machine.accelerators, machine.host_memory_bytes, machine.available) == ((), None, None)
        assert report.document(seen(machine, SHELF)).tables

    def test_what_was_found_and_how_is_shown(self, tmp_path):
        shown = seen(look(edge(tmp_path, Nvml(H100, ("NVIDIA Zork", 10 * GIB)))), SHELF)
        assert [gpu.taken_as for gpu in shown.gpus] == ["h100-sxm", "not in the catalogue"]
        header, rows = report.csv_lines(shown)
        assert rows[0] == ["NVIDIA H100 80GB HBM3", "nvidia", 81559 * MIB, int(79.19 * GIB), "h100-sxm"]
        assert len(header) == len(rows[0])
        content = report.content(shown)
        assert json.loads(json.dumps(content))["probes"][0] == {"way": "NVML", "outcome": "2 found"}
        first = report.document(shown).tables[0]
        assert [cell.text for cell in first.rows[0].cells][:2] == ["NVIDIA H100 80GB HBM3", "79.6 GiB"]


class TestCommands:
    def test_a_command_that_is_not_there(self):
        with pytest.raises(ProbeError, match="no no-such-command"):
            probes.run(("no-such-command",))

    def test_a_command_that_fails(self):
        with pytest.raises(ProbeError, match=r"false failed \(CalledProcessError\)"):
            probes.run(("false",))

    def test_a_command_that_hangs(self, monkeypatch):
        monkeypatch.setattr(probes, "LONGEST_WAIT_SECONDS", 0.1)
        with pytest.raises(ProbeError, match="did not answer within"):
            probes.run(("sleep", "5"))

    def test_what_a_command_prints(self):
        assert probes.run(("printf", "a\\nb\\377")) == "a\nb\ufffd"

    def test_no_shell_and_no_input(self, monkeypatch):
        given = {}
        monkeypatch.setattr(
            subprocess, "run", lambda command, **more: given.update(more) or SimpleNamespace(stdout=b"")
        )
        probes.run(("x",))
        assert given["stdin"] == subprocess.DEVNULL
        assert "shell" not in given

    def test_the_package_that_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
        with pytest.raises(ProbeError, match=r"pip install 'moe-plan\[nvidia\]'"):
            probes.nvml()
