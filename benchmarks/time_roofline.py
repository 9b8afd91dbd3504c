"""Time that the calibrated roofline predicts for prefill and decode, beside the clock, over a grid.

    OMP_NUM_THREADS=1 python benchmarks/time_roofline.py [--models NAME,...] [--mib 256,128]
        [--shapes 1x128,4x64] [--rounds 4] [--runs 2] [--classes]

Each model is shrunk to the largest scale whose weights fit in so many MiB (more than the last cache, as a
real model's), recorded on the meta device, priced, and run. In every round the device is calibrated
once, and then every shape is run, so that both see the machine as it is in those seconds; what is compared
are medians over the rounds. Calibration multiplies matrices of fixed sizes and calls operations on a few
numbers: it has seen no model. Times are the processor's for this process with one thread; what others do to
the memory that cores share is in them all the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan import api
from moe_plan.replica import build
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import calibrate, typical
from moe_plan.replica.shrink import default_scale, shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.forwards import Replayed, recorded, timed
from moe_plan.witness.pricing import seconds
from moe_plan.witness.run import Shape

if TYPE_CHECKING:
    from moe_plan.replica.measure.calibrate import Rates
    from moe_plan.replica.measure.trace import Operation
    from moe_plan.replica.model import Replica
    from moe_plan.witness.forwards import Taken, Work

MODELS = (
    "mixtral-8x7b,qwen3-30b-a3b,deepseek-v2-lite,deepseek-v3,gpt-oss-20b,qwen3-next-80b-a3b,"
    "nemotron-3-nano-30b-a3b,granite-4.0-h-tiny,llama-4-scout,olmoe-1b-7b"
)
SHAPES = "1x16,1x128,4x64,1x384,16x8"


class Run(NamedTuple):
    """One shape of one model."""

    shape: Shape
    options: Options
    work: Work
    taken: list[Taken]


class Row(NamedTuple):
    """One prediction beside what was measured."""

    phase: str
    predicted: float
    measured: float
    classes: dict[str, float]

    @property
    def error(self) -> float:
        """Relative, of the measured time."""
        return abs(self.predicted / self.measured - 1)


def main() -> None:
    """Print a row for each model, shape and phase, then the summary."""
    options = _options()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, 1 thread, fp32")
    print(f"{'model':24} {'scale':>6} {'shape':>6} {'phase':8} {'predicted':>9} {'measured':>9} {'ratio':>6}")
    rows: list[Row] = []
    calibrating: list[float] = []
    for name in options.models.split(","):
        for mib in options.mib.split(","):
            rows += _model(name, int(mib), options, calibrating)
    for phase in ("prefill", "decode", ""):
        errors = sorted(row.error for row in rows if row.phase.startswith(phase))
        p90 = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
        print(
            f"{phase or 'both':8} {len(errors)} predictions: off by {statistics.median(errors):.1%} median, "
            f"{p90:.1%} p90, {errors[-1]:.1%} worst"
        )
    print(f"calibration: {max(calibrating):.1f} s at most for a model, all rounds together")


def _model(name: str, mib: int, options: argparse.Namespace, calibrating: list[float]) -> list[Row]:
    spec = validated(api.load(name).spec)
    scale = default_scale(spec, budget_bytes=mib << 20)
    replica = build.materialise(build.on_meta(shrink(spec, scale).spec), torch.device("cpu"))
    runs = [_recorded(replica, *map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    for run in runs:
        timed(replica, run.shape, run.options, 0)
    rates: list[Rates] = []
    spent = 0.0
    for _ in range(options.rounds):
        begin = time.perf_counter()
        rates.append(calibrate(torch.device("cpu"), torch.float32))
        spent += time.perf_counter() - begin
        for run in runs:
            run.taken.extend(timed(replica, run.shape, run.options, 0) for _ in range(options.runs))
    calibrating.append(spent)
    middle: Rates = typical(rates)
    label = f"{name:24} {scale!s:>6}"
    return [row for run in runs for row in _rows(label, run, middle, classes=options.classes)]


def _recorded(replica: Replica, sequences: int, tokens: int) -> Run:
    shape, options = Shape(sequences, tokens, 1), Options(routing=Replayed(0), logits="last")
    return Run(shape, options, recorded(replica.spec, "fp32", shape, options), [])


def _rows(label: str, run: Run, rates: Rates, *, classes: bool) -> list[Row]:
    work, taken, shape = run.work, run.taken, run.shape
    rows = [
        _row("prefill", work.prefill, [each.prefill for each in taken], rates),
        _row("decode", work.decode, [each.decode for each in taken], rates),
    ]
    for row in rows:
        print(
            f"{label} {f'{shape.sequences}x{shape.tokens}':>6} {row.phase:8} "
            f"{row.predicted * 1e3:6.2f} ms {row.measured * 1e3:6.2f} ms {row.predicted / row.measured:6.2f}",
            flush=True,
        )
        if classes:
            shares = sorted(row.classes.items(), key=lambda item: -item[1])
            print("    ", ", ".join(f"{kind} {each / row.predicted:.0%}" for kind, each in shares[:6]))
    return rows


def _row(phase: str, operations: list[Operation], taken: list[float], rates: Rates) -> Row:
    classes = seconds(operations, rates)
    return Row(phase, sum(classes.values()), statistics.median(taken), classes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--mib", default="256,128", help="weights at most, for each a scale")
    parser.add_argument("--shapes", default=SHAPES, help="sequences x tokens of the prefill")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2, help="of each shape in a round")
    parser.add_argument("--classes", action="store_true", help="shares of the predicted time by class")
    return parser.parse_args()


if __name__ == "__main__":
    main()
