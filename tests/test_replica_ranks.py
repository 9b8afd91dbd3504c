"""A model over ranks that are processes: gloo on this machine, equal to one process to the bit."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
import torch
from parallel_cases import Case, by_one_process
from parallel_threads import CASES, predicted

from moe_plan.errors import ReplicaError
from moe_plan.replica.build import materialise, on_meta
from moe_plan.replica.memory import Available
from moe_plan.replica.parallel import run
from moe_plan.replica.parallel.launch import launch
from moe_plan.replica.parallel.report import EpReport, as_json
from moe_plan.replica.parallel.run import EpSettings, run_expert_parallel
from moe_plan.replica.parallel.shard import materialise_shard, sparse_layers
from moe_plan.replica.parallel.share import Batch, Part, routing_of
from moe_plan.replica.parallel.watch import Task
from moe_plan.spec.load import parse_spec
from moe_plan.witness import wire
from moe_plan.witness.wire_lines import wire_lines

ROUTER = {"kind": "router"}
# A dense start, uneven experts, identity experts, a latent, and one attention that is not the other.
SMALL = b"""
name: small
source: https://example.org/config.json
published: {source: https://example.org}
hidden: 24
vocab: 61
attention:
  full: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 8}
  local: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 8, window: 4}
ffn:
  dense: {kind: dense, width: 40}
  experts: {kind: moe, experts: 7, top_k: 3, width: 16, shared_width: 16}
  latent: {kind: moe, experts: 5, top_k: 2, width: 16, latent: 12, zero_experts: 2, router: {score: sigmoid}}
layers:
  - {attention: full, ffn: dense}
  - {attention: local, ffn: experts}
  - {attention: full, ffn: latent}
"""


@pytest.fixture(autouse=True)
def _one_thread():
    """As every rank has: a product that several threads share is cut, and rounded, otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_ranks_share_one_routing():
    for kind in ("balanced", "uniform", "zipf", "counts"):
        given = {"kind": kind, "seed": 5, "exponent": 1.2, "layers": [[9, 1, 1, 1, 5, 2]]}
        whole = routing_of(given).choose(0, 12, 2, 6)
        parts = [
            Part(routing_of(given), [5, 0, 7], rank).choose(0, n, 2, 6) for rank, n in enumerate((5, 0, 7))
        ]
        assert torch.equal(torch.cat(parts), whole), kind


def test_a_shard_has_the_whole_models_weights():
    spec = parse_spec(SMALL, "small.yaml")
    whole = materialise(on_meta(spec), torch.device("cpu"), 3)
    for rank, (first, last) in enumerate([(0, 2), (2, 4), (4, 6), (6, 7)]):
        shard = materialise_shard(on_meta(spec), torch.device("cpu"), 3, rank, 4)
        assert torch.equal(shard.embedding, whole.embedding)
        pairs = list(zip(sparse_layers(shard).values(), sparse_layers(whole).values(), strict=True))
        assert torch.equal(pairs[0][0].router.weight, pairs[0][1].router.weight)
        assert torch.equal(pairs[0][0].experts.up, pairs[0][1].experts.up[first:last])
        assert torch.equal(pairs[0][0].experts.down, pairs[0][1].experts.down[first:last])
        assert pairs[1][0].experts.up.shape[0] == (2 if rank == 0 else 1)


class OverGloo(NamedTuple):
    """What one start of the workers gave: they run a whole model, and before it every case of as many ranks."""

    cases: list[Case]
    layers: list[list[dict]]
    """By rank and case."""
    reports: list[EpReport]


SEQUENCES = {2: (2, 1), 4: (1, 2, 0, 1)}


@pytest.fixture(scope="module", params=SEQUENCES)
def over_gloo(request):
    ranks = request.param
    cases = [case for case in CASES.values() if len(case.tokens) == ranks]
    cases.append(cases[0]._replace(returns="sums"))
    layers = []

    def launch_both(ranks_, task, timeout_s, threads):
        arguments = {"cases": cases, "call": task.call, "arguments": task.arguments}
        told = launch(ranks_, Task("parallel_cases:layers_and_more", arguments), timeout_s, threads)
        layers.extend(of["layers"] for of in told)
        return [of["more"] for of in told]

    batches = [
        Batch(SEQUENCES[ranks], 6, 1, ROUTER),
        Batch((1,) * ranks, 3, 2, {"kind": "zipf", "seed": 4, "exponent": 1.0}),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "launch", launch_both)
        spec = parse_spec(SMALL, "small.yaml")
        reports = run_expert_parallel(spec, EpSettings(ranks, repeats=2, timeout_s=120), batches)
    return OverGloo(cases, layers, reports)


def test_over_gloo_as_in_one_process(over_gloo):
    for index, case in enumerate(over_gloo.cases):
        told = [of_rank[index] for of_rank in over_gloo.layers]
        bits = torch.cat([torch.tensor(of["bits"], dtype=torch.uint8) for of in told if of["bits"]])
        if case.returns == "rows":
            assert torch.equal(bits, by_one_process(case).view(torch.uint8)), case
        assert [of["bytes"] for of in told] == predicted(case), case
    assert len(over_gloo.cases) >= 4


def test_a_whole_model(over_gloo):
    """All layers, attention on each rank's own sequences; one rank of four has none."""
    for report in over_gloo.reports:
        tokens = sum(report.sequences) * report.length
        assert report.is_exact
        assert report.equality.is_bit_equal
        assert report.equality.grouped.largest == 0
        assert report.equality.tokens == tokens
        assert report.equality.largest_logit > 0.1
        for index, top_k in enumerate((3, 2)):
            layers = [rank.layers[index] for rank in report.by_rank]
            chosen = [expert for of in layers for row in of.chosen_TK for expert in row]
            assert len(chosen) == top_k * tokens
            assert sum(of.rows for of in layers) == sum(expert < layers[0].experts for expert in chosen)
            assert all(of.seconds.experts > 0 and of.seconds.dispatch > 0 for of in layers)
        assert report.imbalance >= 1
        assert json.loads(json.dumps(as_json(report)))["model"] == "small"


def test_every_byte_of_a_whole_model_is_predicted(over_gloo):
    for report in over_gloo.reports:
        lines = [line for line in wire_lines(report, parse_spec(SMALL, "small.yaml")) if line.judged]
        assert len(lines) == 6 * report.ranks + 1
        assert {line.verdict for line in lines} == {"equal"}
        assert sum(line.measured for line in lines) > 0


def test_widths_on_the_wire_are_the_specs():
    """Not those that the ranks told: a latent that is sent in full width must show."""
    settings_ = EpSettings(3, dtype="bf16", returns="sums")
    layers = wire.sparse_layers(parse_spec(SMALL, "small.yaml"), settings_)
    assert layers == (wire.Layer(7, 3, 24, 2, "sums", False), wire.Layer(5, 3, 12, 2, "sums", False))


def test_a_wrong_byte_is_a_difference(over_gloo):
    report = over_gloo.reports[0]
    rank = report.by_rank[1]
    wrong = rank.layers[1].dispatch
    wrong = rank.layers[1]._replace(dispatch=wrong._replace(sent_payload_bytes=wrong.sent_payload_bytes + 1))
    ranks = (report.by_rank[0], rank._replace(layers=(rank.layers[0], wrong)), *report.by_rank[2:])
    differing = [
        line.name
        for line in wire_lines(report._replace(by_rank=ranks), parse_spec(SMALL, "small.yaml"))
        if line.verdict == "differs"
    ]
    assert differing == ["rank 1 dispatch sent", "layer 1 rank 1 dispatch sent"]


def test_bf16_sums_over_two_ranks():
    spec = parse_spec(SMALL, "small.yaml")
    settings_ = EpSettings(2, dtype="bf16", returns="sums", repeats=1, timeout_s=120)
    [report] = run_expert_parallel(spec, settings_, [Batch((1, 1), 8, 1, {"kind": "uniform", "seed": 1})])
    # Sums are rounded to the 8 bits of bf16 on the wire, in two layers.
    assert not report.is_exact
    assert report.equality.grouped.largest <= 0.05 * report.equality.largest_logit
    assert {line.verdict for line in wire_lines(report, parse_spec(SMALL, "small.yaml")) if line.judged} == {
        "equal"
    }
    assert report.by_rank[0].layers[0].itemsize == 2


def test_what_does_not_fit_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda: Available(100 << 20, "a small machine"))
    monkeypatch.setattr(run, "launch", lambda *_: pytest.fail("started"))
    with pytest.raises(ReplicaError, match=r"small over 2 ranks needs .*a small machine"):
        run_expert_parallel(parse_spec(SMALL, "small.yaml"), EpSettings(2), [Batch((1, 1), 4, 1, ROUTER)])


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        (Batch((1,), 4, 1, ROUTER), "2 ranks need"),
        (Batch((0, 0), 4, 1, ROUTER), "at least one token"),
        (Batch((1, 1), 4, 1, {"kind": "magic"}), "no routing of this kind"),
    ],
)
def test_batches_that_cannot_be(batch, match):
    with pytest.raises(ValueError, match=match):
        run_expert_parallel(parse_spec(SMALL, "small.yaml"), EpSettings(2), [batch])
