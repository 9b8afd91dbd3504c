"""`moe-plan profile`: measure a sparse layer batch after batch, print what was measured."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from moe_plan.cli import exit_codes, profile_ranks
from moe_plan.cli.collecting import collected, memory_failures
from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Result, deliver
from moe_plan.cli.profile_ranks import Delivery, Wanted, stopped_text
from moe_plan.cli.progress import Progress
from moe_plan.cli.streams import ReaderGone, write_error
from moe_plan.cli.witnesses import loaded
from moe_plan.errors import UnavailableError, UsageError
from moe_plan.plan.profiling import Profile
from moe_plan.plan.routed_layers import routed_layer, routed_layers
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from moe_plan.cli.choices import Picture
    from moe_plan.cli.collecting import Stopped
    from moe_plan.cli.output import Output
    from moe_plan.plan.profiling import Request, Routing
    from moe_plan.plan.routed_layers import Routed
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.profile import Bench

    MakeBench = Callable[[ModelSpec, Routed, Request], Bench]

PLOT_EXTRA = "pip install 'moe-plan[plot]'"


def run(wanted: Wanted, request: Request, output: Output) -> int:
    """Exit code of the command."""
    inputs = [wanted.name, *([request.routing.path] if request.routing.path else [])]
    if inputs.count("-") > 1:
        message = "standard input can be read once; - stands twice"
        raise UsageError(message)
    files = targets(output.files, "profile", inputs, wanted.plot)
    if wanted.plot is not None:
        _check_plot()
    (model,), notes = given_models((wanted.name,))
    spec = model.spec
    routed = routed_layer(spec, request.layer)
    request = request._replace(routing=_read(request.routing, spec))
    if profile_ranks.is_asked(wanted):
        return profile_ranks.run(spec, wanted, request, Delivery(output, files, notes))
    if wanted.timeout_s is not None:
        message = "--timeout is how long ranks may take; give it with --ranks"
        raise UsageError(message)
    profile, stopped = _measured(spec, routed, request, quiet=output.quiet)
    return _conclude(profile, stopped, request, Delivery(output, files, notes))


def _check_plot() -> None:
    """Raises UnavailableError before anything is measured, where nothing could be drawn."""
    if find_spec("matplotlib") is None:
        message = f"--plot draws with matplotlib, which is not installed; add it with: {PLOT_EXTRA}"
        raise UnavailableError(message)


def _read(routing: Routing, spec: ModelSpec) -> Routing:
    """`routing` with the counts of its file, where it has one. Raises InputError."""
    if routing.path is None:
        return routing
    from moe_plan.spec.routing_file import read_routing  # noqa: PLC0415  few runs read one

    pools = {layer: routed.pool for layer, routed in routed_layers(spec).items()}
    return routing._replace(layers=read_routing(routing.path, pools))


def _measured(
    spec: ModelSpec, routed: Routed, request: Request, *, quiet: bool
) -> tuple[Profile, Stopped | None]:
    """What was measured, of one batch at least, and why there is no more of it.

    Raises ReplicaError where memory does not suffice, UnavailableError without torch, KeyboardInterrupt
    where nothing was measured yet.
    """
    _refuse(spec, routed, request)
    with Progress(quiet=quiet) as progress:
        progress.say("loading torch")
        make = loaded(_bench)
        progress.say(f"making the layers of {spec.name}")
        with memory_failures(request.device):
            bench = make(spec, routed, request)
        points, stopped = collected(bench.points(progress.say), request.device)
    return Profile(bench.about, points, stopped is None), stopped


def _refuse(spec: ModelSpec, routed: Routed, request: Request) -> None:
    """Raise ReplicaError where memory forbids the layers, which needs no torch to be told."""
    if request.device != "cpu":
        return
    from moe_plan.replica.memory import available_memory  # noqa: PLC0415  as the rest, only where it is asked
    from moe_plan.witness.profile_memory import Asked  # noqa: PLC0415

    asked = Asked(spec, routed, request, available_memory())
    asked.layers(asked.scale())


def _bench() -> MakeBench:
    from moe_plan.witness.profile import Bench  # noqa: PLC0415  torch takes seconds to load

    return Bench


def _conclude(profile: Profile, stopped: Stopped | None, request: Request, delivery: Delivery) -> int:
    from moe_plan.report import profile as table  # noqa: PLC0415  nothing to print before
    from moe_plan.report import profile_records as records  # noqa: PLC0415

    result = Result(
        "profile",
        lambda width: table.document(profile, request, width),
        lambda: records.content(profile, request),
        lambda: records.csv_lines(profile, request),
        delivery.notes,
        lambda form: _drawn(profile, form),
    )
    code = stopped.code if stopped else exit_codes.OK
    try:
        deliver(result, delivery.output, delivery.files)
    except ReaderGone as gone:
        code = code or gone.exit_code
    finally:
        if stopped:
            write_error(stopped_text(stopped, len(profile.points), request))
    return code


def _drawn(profile: Profile, form: Picture) -> bytes:
    """A picture. Raises UnavailableError where matplotlib is broken."""
    try:
        from moe_plan.report.profile_plot import picture  # noqa: PLC0415  matplotlib takes a second to load
    except ImportError as error:
        message = f"matplotlib cannot be loaded: {clean(str(error), 300)}; reinstall it with: {PLOT_EXTRA}"
        raise UnavailableError(message) from None
    return picture(profile, form)
