"""Every way a hardware file is known to be wrong: one error a fault, at its line and column, in plain words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_plan.errors import CODES, InputError
from moe_plan.spec.hardware_load import parse_hardware

GOOD = """kind: accelerator
name: my-gpu
vendor: nvidia
sources:
  sheet: {confidence: vendor, ref: its data sheet}
memory:
  kind: hbm
  driver: {value: 81559 MiB, source: sheet}
  bandwidth: {value: 3350 GB/s, source: sheet}
rates:
  bf16: {value: 989.4 TFLOP/s, source: sheet}
  int8: {value: 1979 TOP/s, source: sheet}
links:
  nvlink: {value: 450 GB/s, source: sheet}
power: {value: 700 W, source: sheet}
mig:
  compute_slices: 7
  memory_slices: 8
  source: sheet
  profiles:
    1g.10gb: {count: 7, compute: 1, memory: 1}
"""
SYSTEM = """kind: system
name: my-node
sources:
  sheet: {confidence: vendor, ref: its data sheet}
accelerator: h100-sxm
per_node: 8
link: nvlink
source: sheet
"""
CLOUD = """kind: cloud
name: my-cloud
sources:
  sheet: {confidence: vendor, ref: its price list}
instances:
  big: {accelerator: h100-sxm, count: 8, source: sheet}
"""
A_SIZE = "a size such as 80 GB or 81559 MiB"

# (start, old, new): code line:column key | message
CASES = [
    (GOOD, "kind: accelerator", "kind: gpu", "MP123 1:7 kind | a hardware file says what it describes: accelerator, system or cloud"),
    (GOOD, "kind: accelerator", "kind: sistem", "MP123 1:7 kind | a hardware file says what it describes: accelerator, system or cloud; did you mean system?"),
    (GOOD, "kind: accelerator\n", "", "MP121 1:1 kind | a hardware file says what it describes: accelerator, system or cloud"),
    (GOOD, "kind: accelerator", "kind: [accelerator]", "MP123 1:1 kind | a hardware file says what it describes: accelerator, system or cloud"),
    (GOOD, "vendor: nvidia", "vendor: nvidea", 'MP123 3:9 vendor | expected nvidia, amd, google, aws, intel, apple or other, found the text "nvidea"; did you mean nvidia?'),
    (GOOD, "vendor: nvidia\n", "", "MP121 1:1 vendor | missing; expected nvidia, amd, google, aws, intel, apple or other"),
    (GOOD, "  bandwidth:", "  bandwith:", "MP120 9:3 memory.bandwith | unknown key; did you mean bandwidth?"),
    (GOOD, "  bf16:", "  bf_16:", "MP120 11:3 rates.bf_16 | unknown key; did you mean bf16?"),
    (GOOD, "3350 GB/s", "3350 Gb/s", 'MP125 9:22 memory.bandwidth.value | expected a bandwidth such as 3350 GB/s or 3.35 TB/s, found the text "3350 Gb/s"'),
    (GOOD, "3350 GB/s", "3350", "MP122 9:22 memory.bandwidth.value | expected a bandwidth such as 3350 GB/s or 3.35 TB/s, found 3350; quote it"),
    (GOOD, "81559 MiB", "81559", f"MP122 8:19 memory.driver.value | expected {A_SIZE}, found 81559; quote it"),
    (GOOD, "81559 MiB", "80Gb", f'MP125 8:19 memory.driver.value | expected {A_SIZE}, found the text "80Gb"'),
    (GOOD, "81559 MiB", "-1 GiB", f'MP125 8:19 memory.driver.value | expected {A_SIZE}, found the text "-1 GiB"'),
    (GOOD, "81559 MiB", "1e3 GB", f'MP125 8:19 memory.driver.value | expected {A_SIZE}, found the text "1e3 GB"'),
    (GOOD, "81559 MiB", "0 MiB", "MP162 8:19 memory.driver.value | 0 MiB is implausible; check the number and its unit"),
    (GOOD, "81559 MiB", "80 MB", "MP162 8:19 memory.driver.value | 80 MB is implausible; check the number and its unit"),
    (GOOD, "3350 GB/s", "3350 TB/s", "MP162 9:22 memory.bandwidth.value | 3350 TB/s is implausible; check the number and its unit"),
    (GOOD, "989.4 TFLOP/s", "989400 PFLOP/s", "MP162 11:17 rates.bf16.value | 989400 PFLOP/s is implausible; check the number and its unit"),
    (GOOD, "989.4 TFLOP/s", "989.4 TOP/s", "MP162 11:17 rates.bf16.value | the rate of bf16 is given in TFLOP/s"),
    (GOOD, "1979 TOP/s", "1979 TFLOP/s", "MP162 12:17 rates.int8.value | the rate of int8 is given in TOP/s"),
    (GOOD, "700 W", "700 kg", 'MP125 15:16 power.value | expected a power such as 700 W, found the text "700 kg"'),
    (GOOD, "450 GB/s, source: sheet", "450 GB/s, source: shet", "MP160 14:37 links.nvlink.source | no source of this name in the file's sources; did you mean sheet?"),
    (GOOD, "450 GB/s, source: sheet", "450 GB/s", "MP121 14:3 links.nvlink.source | missing; expected a name (letters, digits, '.', '_', '-')"),
    (GOOD, "450 GB/s, source: sheet}", "450 GB/s, source: sheet, also: [{value: 400 GB/s, source: blog}]}", "MP160 14:77 links.nvlink.also.0.source | no source of this name in the file's sources"),
    (GOOD, "  sheet: {confidence: vendor, ref: its data sheet}", "  {}", "MP124 5:3 sources | expected a mapping of at least one key, found none"),
    (GOOD, "confidence: vendor", "confidence: sure", "MP123 5:23 sources.sheet.confidence | expected vendor, vendor-code, curated*"),
    (GOOD, "  driver: {value: 81559 MiB, source: sheet}\n", "", "MP161 6:1 memory | give one of marketed, driver and usable"),
    (GOOD, "count: 7, compute: 1", "count: 9, compute: 1", "MP164 21:5 mig.profiles.1g.10gb | 9 of them need more memory slices than there are"),
    (GOOD, "count: 7, compute: 1", "compute: 8", "MP164 21:5 mig.profiles.1g.10gb | takes more slices than the accelerator has"),
    (GOOD, "1g.10gb:", "10gb:", "MP125 21:5 mig.profiles.10gb | expected the name of a profile, such as 1g.10gb"),
    (SYSTEM, "h100-sxm", "h100-smx", "MP163 5:14 accelerator | no accelerator of this name in the catalogue; did you mean h100-sxm*"),
    (SYSTEM, "per_node: 8", "per_node: 0", "MP124 6:11 per_node | expected a whole number of at least 1, found 0"),
    (SYSTEM, "per_node: 8", "per_node: 8\ndomain: 4", "MP164 7:9 domain | a link reaches at least the 8 of a node"),
    (SYSTEM, "link: nvlink", "link: nvlnk", 'MP123 7:7 link | expected nvlink, xgmi, ici, roce, neuronlink or pcie, found the text "nvlnk"; did you mean nvlink?'),
    (CLOUD, "accelerator: h100-sxm", "accelerator: h1000", "MP163 6:22 instances.big.accelerator | no accelerator of this name in the catalogue*"),
    (CLOUD, "count: 8", "count: true", "MP122 6:39 instances.big.count | expected a whole number of at least 1, found true"),
    (CLOUD, "source: sheet}", "source: list}", "MP160 6:50 instances.big.source | no source of this name in the file's sources"),
]  # fmt: skip


@pytest.mark.parametrize(("start", "old", "new", "told"), CASES, ids=range(len(CASES)))
def test_a_fault_is_told_once_and_exactly(start, old, new, told):
    assert old in start
    with pytest.raises(InputError) as caught:
        parse_hardware(start.replace(old, new, 1).encode(), "bad.yaml")
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) == 1, str(caught.value)
    (problem,) = caught.value.problems
    found = f"{problem.code} {problem.line}:{problem.column} {problem.key} | {problem.message}"
    assert found.startswith(told.rstrip("*")) if told.endswith("*") else found == told


def test_every_code_of_hardware_files_is_met():
    met = {told.split()[0] for *_, told in CASES}
    assert {code for code in CODES if code.startswith("MP16")} <= met


@pytest.mark.parametrize("text", [GOOD, SYSTEM, CLOUD])
def test_what_the_faults_are_made_from_is_good(text):
    _, notes = parse_hardware(text.encode(), "good.yaml")
    assert notes == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"# only\n", b"[]", b"a: &x [*x]", b"!!python/object/apply:os.system [ls]", b"[" * 100_000, b"\xff", b"\x00",
     b"kind: accelerator\nkind: accelerator\n", b"kind: .inf", b"a: 1\n---\nb: 2\n", b"version https://git-lfs.github.com/spec/v1"],
)  # fmt: skip
def test_text_that_is_no_spec(data):
    with pytest.raises(InputError) as caught:
        parse_hardware(data, "bad.yaml")
    assert str(caught.value).isprintable()


@given(st.data())
def test_no_change_of_a_line_is_more_than_an_input_error(data):
    start = data.draw(st.sampled_from([GOOD, SYSTEM, CLOUD]))
    lines = start.splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    change = data.draw(
        st.sampled_from(["", "x", "- 1", "  a: {b: [1, 2]}", "kind: system", "name: 7", "power: null"])
    )
    lines[place] = change
    try:
        parse_hardware("\n".join(lines).encode(), "x.yaml")
    except InputError:
        return
