"""A profile as a picture, drawn by matplotlib: times, roofline, experts with work, load of the experts.

matplotlib and not hand-written SVG: both formats then come from one description, and PNG needs a rasteriser.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from moe_plan.plan.profiling import TWINS
from moe_plan.report import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from moe_plan.plan.profiling import Profile, Twin

NAMES: dict[Twin, str] = {
    "sparse": "sparse",
    "active": "dense of equal active size",
    "total": "dense of equal total size",
}
# They stay apart for colour-blind readers (Okabe and Ito), and each has a marker of its own.
_COLORS: dict[Twin, str] = {"sparse": "#0072b2", "active": "#e69f00", "total": "#009e73"}
_MARKERS: dict[Twin, str] = {"sparse": "o", "active": "s", "total": "^"}
_INCHES = (11.0, 8.0)
_DPI = 120


def picture(profile: Profile, form: Literal["svg", "png"]) -> bytes:
    """The file's bytes; the same for the same profile."""
    # A fixed salt gives the same ids each time.
    with mpl.rc_context({"svg.hashsalt": "moe-plan", "font.size": 9}):
        figure = _figure(profile)
        out = BytesIO()
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(out, format=form, dpi=_DPI, metadata=metadata)
    return out.getvalue()


def _figure(profile: Profile) -> Figure:
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots(2, 2)
    about = profile.about
    figure.suptitle(
        f"{about.model}, sparse layer {about.layer} at scale {about.scale}: {about.top_k} of "
        f"{about.experts + about.zero_experts} experts a token, {about.device_name}, {about.dtype}",
        # No dollar sign in a device's name begins a formula.
        parse_math=False,
    )
    _times(axes[0][0], profile)
    _roofline(axes[0][1], profile)
    _distinct(axes[1][0], profile)
    _load(axes[1][1], profile)
    return figure


def _times(axes: Axes, profile: Profile) -> None:
    tokens = [point.tokens for point in profile.points]
    for twin in TWINS:
        seconds = [point.step(twin).seconds for point in profile.points]
        per_token = [of.middle / count for of, count in zip(seconds, tokens, strict=True)]
        below = [(of.middle - of.least) / count for of, count in zip(seconds, tokens, strict=True)]
        above = [(of.most - of.middle) / count for of, count in zip(seconds, tokens, strict=True)]
        axes.errorbar(
            tokens,
            per_token,
            yerr=(below, above),
            label=NAMES[twin],
            capsize=2,
            color=_COLORS[twin],
            marker=_MARKERS[twin],
        )
        crossing = profile.crossing(twin).tokens
        if crossing is not None:
            axes.axvline(crossing, color=_COLORS[twin], linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="tokens per batch", ylabel="seconds per token")
    axes.set_title("time per token; dotted: from memory-bound to compute-bound")
    axes.legend()


def _roofline(axes: Axes, profile: Profile) -> None:
    ceiling = profile.ceiling
    intensities = [point.step(twin).intensity for point in profile.points for twin in TWINS]
    edges = sorted({min(*intensities, ceiling.ridge), ceiling.ridge, max(*intensities, ceiling.ridge)})
    roof = [min(ceiling.flops_per_s, edge * ceiling.bytes_per_s) for edge in edges]
    axes.plot(edges, roof, color="black", linewidth=1, label="measured ceiling")
    for twin in TWINS:
        steps = [point.step(twin) for point in profile.points]
        axes.plot(
            [step.intensity for step in steps],
            [step.flops_per_s for step in steps],
            label=NAMES[twin],
            linewidth=0.5,
            color=_COLORS[twin],
            marker=_MARKERS[twin],
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOP for each byte", ylabel="FLOP/s")
    axes.set_title(f"roofline; ridge at {numbers.ratio(ceiling.ridge)} FLOP for each byte")


def _distinct(axes: Axes, profile: Profile) -> None:
    tokens = [point.tokens for point in profile.points]
    loads = [point.load for point in profile.points]
    axes.plot(tokens, [load.expected for load in loads], color="black", linewidth=1, label="formula")
    measured = [load.distinct.middle for load in loads]
    axes.plot(
        tokens,
        measured,
        linestyle="none",
        label="measured",
        color=_COLORS["sparse"],
        marker=_MARKERS["sparse"],
    )
    axes.axhline(profile.about.experts, color="grey", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="tokens per batch", ylabel="experts with work")
    axes.set_title("distinct experts")
    axes.legend()


def _load(axes: Axes, profile: Profile) -> None:
    point = profile.points[-1]
    for rows in point.load.rows:
        mean = sum(rows) / len(rows) or 1.0
        ranked = sorted((count / mean for count in rows), reverse=True)
        axes.plot(range(1, len(ranked) + 1), ranked, color=_COLORS["sparse"], linewidth=0.7)
    axes.axhline(1.0, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="expert, busiest first", ylabel="rows over the mean of experts", ylim=(0, None))
    axes.set_title(f"load at {numbers.exact(point.tokens)} tokens, each repeat")
