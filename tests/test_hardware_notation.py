"""How people write hardware: each way resolves to one cluster, with every default told, or to one clear error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_plan.errors import InputError
from moe_plan.hardware.memory import GIB
from moe_plan.hardware.notation import LONGEST, MOST, written
from moe_plan.hardware.resolve import resolve, shelf

SHELF = shelf()

# text: device, nodes, devices of a node, devices that a link joins
GOOD = {
    "H100": ("h100-sxm", 1, 1, 1),
    "8xH100": ("h100-sxm", 1, 8, 8),
    "8×H100": ("h100-sxm", 1, 8, 8),
    "8 x h100": ("h100-sxm", 1, 8, 8),
    "  8xH100  ": ("h100-sxm", 1, 8, 8),
    "H100:8": ("h100-sxm", 1, 8, 8),
    "H100!:8": ("h100-sxm", 1, 8, 8),
    "8xH100:8": ("h100-sxm", 1, 8, 8),
    "008xH100": ("h100-sxm", 1, 8, 8),
    "nvidia:H100:80GB:8": ("h100-sxm", 1, 8, 8),
    "8:80GB:H100:nvidia": ("h100-sxm", 1, 8, 8),
    "H100-80GB:4": ("h100-sxm", 1, 4, 4),
    "H100 80 GB": ("h100-sxm", 1, 1, 1),
    "H100:94GB": ("h100-nvl", 1, 1, 1),
    "h100_sxm": ("h100-sxm", 1, 1, 1),
    "NVIDIA-H100-SXM5-80GB": ("h100-sxm", 1, 1, 1),
    "NVIDIA H100 80GB HBM3": ("h100-sxm", 1, 1, 1),
    "NVIDIA A100-SXM4-40GB": ("a100-sxm4-40", 1, 1, 1),
    "A100:40GB": ("a100-sxm4-40", 1, 1, 1),
    "NVIDIA GeForce RTX 3090": ("rtx-3090", 1, 1, 1),
    "Tesla T4": ("t4", 1, 1, 1),
    "3090": ("rtx-3090", 1, 1, 1),
    "2x3090": ("rtx-3090", 1, 2, 2),
    "3090:2": ("rtx-3090", 1, 2, 2),
    "AMD Instinct MI300X": ("mi300x", 1, 1, 1),
    "amd:MI300X:8": ("mi300x", 1, 8, 8),
    "2x8xH200": ("h200-sxm", 2, 8, 8),
    "8xH200@2": ("h200-sxm", 2, 8, 8),
    "8xH200 @ 2 nodes": ("h200-sxm", 2, 8, 8),
    "16xH200": ("h200-sxm", 2, 8, 8),
    "2x4xH100": ("h100-sxm", 2, 4, 4),
    "gb200-nvl72": ("gb200", 18, 4, 72),
    "DGX GB200 NVL72": ("gb200", 18, 4, 72),
    "2xgb200-nvl72": ("gb200", 36, 4, 72),
    "GB200": ("gb200", 1, 1, 1),
    "8xGB200": ("gb200", 2, 4, 8),
    "72xGB200": ("gb200", 18, 4, 72),
    "144xGB200": ("gb200", 36, 4, 72),
    "hgx-h100": ("h100-sxm", 1, 8, 8),
    "2xDGX-H100": ("h100-sxm", 2, 8, 8),
    "p5.48xlarge": ("h100-sxm", 1, 8, 8),
    "2xp5.48xlarge": ("h100-sxm", 2, 8, 8),
    "p5.48xlarge:2": ("h100-sxm", 2, 8, 8),
    "a2-ultragpu-8g": ("a100-sxm4-80", 1, 8, 8),
    "Standard_ND96isr_H100_v5": ("h100-sxm", 1, 8, 8),
    "standard_nd96isr_h100_v5": ("h100-sxm", 1, 8, 8),
    "18xStandard_ND128isr_NDR_GB200_v6": ("gb200", 18, 4, 72),
    "gpu_8x_h100_sxm5": ("h100-sxm", 1, 8, 8),
    "trn2.48xlarge": ("trainium2", 1, 16, 16),
    "v5litepod-8": ("tpu-v5e", 1, 8, 8),
    "v5litepod-16": ("tpu-v5e", 2, 8, 16),
    "tpu-v6e-8": ("tpu-v6e", 1, 8, 8),
    "v5p-8": ("tpu-v5p", 1, 4, 4),
    "v6e:4": ("tpu-v6e", 1, 4, 4),
    "H100/1g.10gb": ("h100-sxm/1g.10gb", 1, 1, 1),
    "H100/1g.10gb:7": ("h100-sxm/1g.10gb", 1, 7, 1),
    "7xH100/MIG(1g.10gb)": ("h100-sxm/1g.10gb", 1, 7, 1),
    "1g.10gb": ("h100-sxm/1g.10gb", 1, 1, 1),
    "nvidia.com/mig-1g.10gb": ("h100-sxm/1g.10gb", 1, 1, 1),
    "1g.5gb": ("a100-sxm4-40/1g.5gb", 1, 1, 1),
    "A100:40GB/1g.10gb": ("a100-sxm4-40/1g.10gb", 1, 1, 1),
    "rtx-pro-6000/1g.24gb+gfx": ("rtx-pro-6000-se/1g.24gb+gfx", 1, 1, 1),
    "m4-max:64GB": ("apple-m4-max-40", 1, 1, 1),
    "Apple M4": ("apple-m4", 1, 1, 1),
    "tpu7x": ("tpu7x", 1, 1, 1),
    "MI250X": ("mi250x/1of2", 1, 2, 2),
    "4xMI250X": ("mi250x/1of2", 1, 8, 8),
    "2x4xMI250X": ("mi250x/1of2", 2, 8, 8),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_way_of_writing(text):
    found = resolve(text, SHELF)
    assert (found.device.name, found.nodes, found.per_node, found.domain) == GOOD[text]
    assert found.text == text


@pytest.mark.parametrize("name", [*SHELF.catalogue.accelerators, *SHELF.catalogue.systems])
def test_every_name_resolves_to_itself_however_it_is_written(name):
    found = resolve(name, SHELF)
    for form in (name.upper(), name.replace("-", "_"), name.replace("-", " "), f"1x{name}", f"{name}:1"):
        assert resolve(form, SHELF)._replace(text="") == found._replace(text=""), form
    dies = SHELF.catalogue.accelerators[name].dies if name in SHELF.catalogue.accelerators else 1
    assert bool(found.notes) == (dies > 1)
    in_all = SHELF.catalogue.systems
    assert found.devices == (in_all[name].per_node * in_all[name].nodes if name in in_all else dies)


def test_every_instance_resolves_to_its_machine():
    for cloud in SHELF.catalogue.clouds.values():
        for name, instance in cloud.instances.items():
            found = resolve(name, SHELF)
            assert (found.device.name, found.nodes, found.per_node) == (
                instance.accelerator,
                1,
                instance.count,
            ), name
            assert found.system == name
            assert (found.host_memory is None) == (instance.host_memory is None), name


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("H100", "H100 is taken as h100-sxm, and not h100-nvl or h100-pcie"),
        ("A100", "A100 is taken as a100-sxm4-80, and not a100-pcie-80 or a100-sxm4-40"),
        ("A100-80GB", "A100-80GB is taken as a100-sxm4-80, and not a100-pcie-80"),
        ("GH200", "GH200 is taken as gh200-96, and not gh200-144"),
        ("16xH200", "16 are taken as 2 nodes of 8 (hgx-h200)"),
        ("v5p-8", "v5p-8 counts 8 cores: 4 chips"),
        (
            "1g.10gb",
            "1g.10gb is taken as a slice of h100-sxm, and not of a100-pcie-80, a100-sxm4-40, a100-sxm4-80 or h100-pcie",
        ),
    ],
)
def test_what_is_taken_for_granted_is_told(text, note):
    assert resolve(text, SHELF).notes == (note,)


@pytest.mark.parametrize(
    "text", ["h100-sxm", "H200", "H100:94GB", "A100:40GB", "8xH200", "1g.5gb", "p5.48xlarge"]
)
def test_what_is_not_ambiguous_has_no_note(text):
    assert resolve(text, SHELF).notes == ()


BAD = {
    "": ("MP308", "no hardware is named"),
    "   ": ("MP308", "no hardware is named"),
    "0xH100": ("MP308", "0 of something cannot be planned for; write at least 1"),
    "H100:0": ("MP308", "0 of something"),
    "H100@0": ("MP308", "0 of something"),
    "0x8xH100": ("MP308", "0 of something"),
    "-8xH100": ("MP308", "-8 of something"),
    "H100:-8": ("MP308", "-8 of something"),
    "1.5xH100": ("MP308", "1.5 is no whole number"),
    "H100:2.0": ("MP308", "2.0 is no whole number"),
    f"{MOST + 1}xH100": ("MP308", "more than 100,000"),
    "9" * 200 + "xH100": ("MP308", "more than 100,000"),
    "99999xgb200-nvl72": ("MP308", "more than 100,000"),
    "99999x8xH100": ("MP308", "more than 100,000"),
    "A" * (LONGEST + 1): ("MP308", "longer than 300 characters"),
    "H100:8:4": ("MP308", "the count stands twice, as 8 and as 4"),
    "8xH100:4": ("MP308", "the count stands twice"),
    "2x8xH100@3": ("MP308", "the count stands twice, as 2 and as 3"),
    "2x2x2xH100": ("MP308", "at most NODESxCOUNTxNAME"),
    "H100::8": ("MP308", "nothing stands beside a colon"),
    ":": ("MP308", "nothing stands beside a colon"),
    "H100:H200": ("MP308", "both H100 and H200 stand where a name does"),
    "H100,H200": ("MP308", "a choice of hardware is not one plan"),
    "nvidia:24GB..80GB:1..2": ("MP308", "a range of hardware is not one plan"),
    "H*": ("MP308", "a pattern of hardware is not one plan"),
    "B200+": ("MP308", "may become something better"),
    "Ｈ１００": ("MP308", "plain ASCII"),
    "H100\u202e": ("MP308", "plain ASCII"),
    "\x1b[31mH100": ("MP308", "plain ASCII"),
    "H\x00100": ("MP308", "plain ASCII"),
    "H100\n8": ("MP308", "plain ASCII"),
    "12xH100": ("MP308", "12 do not fill nodes of 8"),
    "17x3090": ("MP308", "no node of rtx-3090 is known that holds 17"),
    "p5.48xlarge:80GB": ("MP308", "is a whole machine"),
    "v5p-7": ("MP308", "counts cores, 2 a chip"),
    "v5litepod-0": ("MP308", "counts cores"),
    "v5litepod-8:2": ("MP308", "the count stands twice"),
    "H1000": ("MP307", "did you mean H100"),
    "RTX 3091": ("MP307", "rtx-3090"),
    "MI300Y": ("MP307", "mi300x"),
    "p5.49xlarge": ("MP307", "p5.48xlarge"),
    "gb200-nvl71": ("MP307", "gb200-nvl72"),
    "Standard_ND96isr_H100_v6": ("MP307", "Standard_ND96isr_H100_v5"),
    "nvidia": ("MP307", "no hardware of this name"),
    "8x": ("MP307", "no hardware of this name"),
    "8": ("MP307", "no hardware of this name"),
    "80GB:8": ("MP307", "no hardware of this name"),
    "custom:80": ("MP307", "no hardware of this name"),
    "com": ("MP307", "no hardware of this name"),
    "v7e-8": ("MP307", "no hardware of this name"),
    "H100:141GB": ("MP309", "no H100 with 141 GB; known: h100-sxm (80 GB), h100-nvl (94 GB)"),
    "RTX4090:48GB": ("MP309", "known: rtx-4090 (24 GB); a YAML of your own says another size"),
    "amd:H100": ("MP309", "h100-sxm is made by nvidia, not amd"),
    "google:p5.48xlarge": ("MP309", "is made by nvidia, not google"),
    "H100/1g.5gb": ("MP309", "no slice 1g.5gb of H100; known: 1g.10gb"),
    "L4/1g.5gb": ("MP309", "no slice 1g.5gb of L4; known: none"),
    "9g.10gb": ("MP309", "no GPU has a slice 9g.10gb"),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text)[:30])
def test_a_way_that_is_not_understood(text):
    code, fragment = BAD[text]
    refused = None
    try:
        resolve(text, SHELF)
    except InputError as error:
        refused = error
    assert refused is not None
    (problem,) = refused.problems
    assert refused.exit_code == 3
    assert problem.code == code
    assert fragment in problem.message
    assert str(refused).isprintable()
    assert len(str(refused)) < 400


@given(st.text(max_size=40) | st.text("0123456789xX:@/.-+gbGBHh12 ", max_size=30))
def test_no_text_is_more_than_an_input_error(text):
    try:
        found = written(text)
    except InputError:
        return
    assert found.name or found.slice
    for number in (found.number, found.nodes):
        assert number is None or 1 <= number <= MOST
    if not found.is_path and found.name.casefold() != "local":
        try:
            assert 1 <= resolve(text, SHELF).devices <= MOST
        except InputError:
            return


@given(st.integers(1, 300), st.integers(1, 300))
def test_counts_and_nodes_multiply(nodes, count):
    found = resolve(f"{nodes}x{count}xH200", SHELF)
    assert (found.nodes, found.per_node, found.devices) == (nodes, count, nodes * count)
    assert 1 <= found.domain <= found.devices
    assert (found.link is not None) == (found.domain > 1)
    assert (found.network is not None) == (found.domain < found.devices)


def test_memory_written_as_80gb_is_what_the_driver_leaves():
    memory = resolve("H100:80GB", SHELF).device.memory()
    assert memory.bytes == int(79.19 * GIB) != 80 * 10**9


def test_a_reserve_is_taken_where_only_the_driver_is_known():
    memory = resolve("h100-nvl", SHELF).device.memory()
    assert memory.bytes == (95830 << 20) - GIB * 45 // 100
    assert memory.basis.startswith("estimated")


def test_of_amd_the_driver_is_believed():
    assert resolve("mi355x", SHELF).device.memory().bytes == 294896 << 20


def test_a_marketing_gb_is_close_to_a_gib():
    memory = resolve("h100-pcie", SHELF).device.memory()
    assert memory.bytes == 80 * GIB * 985 // 1000


def test_a_mac_wires_three_quarters():
    assert resolve("m4-max:64GB", SHELF).device.memory().bytes == 48 * GIB
    assert resolve("m4-max", SHELF).device.memory() is None


def test_a_slice_has_its_share():
    whole, part = resolve("h100-sxm", SHELF).device, resolve("h100-sxm/3g.40gb", SHELF).device
    assert part.memory().bytes == whole.memory().bytes // 2
    assert part.bandwidth() == whole.bandwidth() // 2
    assert part.rate("bf16") == whole.rate("bf16") * 3 // 7
    assert part.rate("fp4") is None


def test_links_are_one_way():
    found = resolve("16xH100", SHELF)
    assert (found.link.amount, found.network.amount) == (450 * 10**9, 50 * 10**9)


def test_a_bridge_is_not_taken_to_reach_a_whole_machine():
    """Two RTX A6000 can be bridged by NVLink, four cannot: nothing is known of the machine they are in."""
    assert resolve("4xA6000", SHELF).link is None
    assert resolve("4xL40S", SHELF).link.place == "links.pcie"
    assert resolve("8xgaudi3", SHELF).link.place == "links.roce"


def test_a_racks_link_crosses_its_nodes():
    assert resolve("gb200-nvl72", SHELF).network is None
    two = resolve("2xgb200-nvl72", SHELF)
    assert (two.domain, two.network.amount) == (72, 100 * 10**9)


class TestOwnFile:
    TEXT = """kind: accelerator
name: my-gpu
vendor: other
sources:
  sheet: {confidence: vendor, ref: its data sheet}
memory: {kind: hbm, driver: {value: 95 GiB, source: sheet}}
"""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "own.yaml").write_text(self.TEXT)
        return tmp_path

    @pytest.mark.parametrize("text", ["8xown.yaml", "own.yaml:8", "./own.yaml:8", "8x./own.yaml"])
    def test_a_path_stands_where_a_name_does(self, folder, text):
        found = resolve(text, SHELF)
        assert (found.device.name, found.nodes, found.per_node) == ("my-gpu", 1, 8)
        assert found.device.memory().bytes == 95 * GIB

    def test_nodes_and_an_absolute_path(self, folder):
        found = resolve(f"2x8x{folder}/own.yaml", SHELF)
        assert (found.nodes, found.per_node) == (2, 8)

    def test_a_system_of_a_shipped_accelerator(self, folder):
        (folder / "rack.yaml").write_text(
            "kind: system\nname: rack\nsources: {s: {confidence: single, ref: our rack}}\n"
            "accelerator: h200-sxm\nper_node: 4\nnodes: 6\nlink: nvlink\nsource: s\n"
        )
        found = resolve("2xrack.yaml", SHELF)
        assert (found.device.name, found.nodes, found.per_node, found.domain) == ("h200-sxm", 12, 4, 4)
        assert found.system == "rack"

    def test_a_cloud_is_not_one_machine(self, folder):
        (folder / "cloud.yaml").write_text(
            "kind: cloud\nname: c\nsources: {s: {confidence: single, ref: ours}}\n"
            "instances: {big: {accelerator: t4, count: 2, source: s}}\n"
        )
        with pytest.raises(InputError, match="a cloud's file holds many machines"):
            resolve("cloud.yaml", SHELF)

    @pytest.mark.parametrize("text", ["none.yaml", "8x./none.yaml", "/dev/null/none.yaml"])
    def test_a_file_that_is_not_there(self, folder, text):
        with pytest.raises(InputError, match="MP101"):
            resolve(text, SHELF)
