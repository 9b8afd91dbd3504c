"""From a spec to its inventory: runs of layers expanded, names resolved, identical layers gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.ffn import ffn_body
from moe_plan.anatomy.inventory import Block, Body, Inventory, Operation, Role, Weight
from moe_plan.spec.flows import block_names, norm_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.model import ModelSpec, Norm, Part, Run, Tensor


# What a decode step runs; encoders, towers and projectors have done their work by then.
GENERATING: tuple[Role, ...] = ("decoder", "mtp")


def inventory(spec: ModelSpec) -> Inventory:
    """Every weight, state and operation of every part of `spec`."""
    blocks = [*_embedding(spec), *_stack(spec, "decoder", "decoder", spec)]
    blocks.append(Block("decoder", "decoder", (), _head(spec)))
    for name, part in spec.parts.items():
        blocks += _stack(spec, name, part.role, part)
    return Inventory(spec.name, tuple(block for block in blocks if block.weights))


def _embedding(spec: ModelSpec) -> Iterator[Block]:
    table = Weight("embedding", "embedding", (spec.hidden,), spec.vocab, 1, use="lookup", max_tp=spec.vocab)
    yield Block("decoder", "decoder", (), (table,))


def _head(spec: ModelSpec) -> tuple[Weight, ...]:
    shape = (spec.vocab, spec.hidden)
    head = Weight("lm_head", "lm_head", shape, stored=not spec.tied, max_tp=spec.vocab)
    if not spec.head_bias:
        return (head,)
    return (head, Weight("lm_head.bias", "lm_head", (spec.vocab,), use="vector", max_tp=spec.vocab))


def _stack(spec: ModelSpec, name: str, role: Role, part: ModelSpec | Part) -> Iterator[Block]:
    """The layers of one part, then what stands outside them: final norm, extra tensors."""
    hidden, norm = part.hidden or spec.hidden, part.norm or spec.norm
    for run, layers in _gathered(part.layers):
        body = _layer(spec, part, run)
        extra = tuple(_tensor(tensor) for tensor in run.tensors)
        body = body._replace(
            weights=(*_norm_weights("norm", norm, hidden, norm_count(run)), *body.weights, *extra)
        )
        yield _block(name, role, layers, body)
    outside = tuple(_tensor(tensor) for tensor in part.tensors)
    if part.final_norm and part.layers:
        outside = (*_norm_weights("norm.final", norm, hidden, 1), *outside)
    if part.hyper_connections is not None and part.layers:
        outside = (*outside, *_hyper_head(part.hyper_connections, hidden))
    yield _block(name, role, (), Body(outside))


def _block(name: str, role: Role, layers: tuple[int, ...], body: Body) -> Block:
    return Block(name, role, layers, *(body if role in GENERATING else body.in_prefill()))


def _gathered(runs: tuple[Run, ...]) -> Iterator[tuple[Run, tuple[int, ...]]]:
    """Each different layer of a stack, with the indices at which it stands."""
    places: dict[tuple[object, ...], tuple[Run, list[int]]] = {}
    # A run's contents are looked at once, however often it is repeated.
    found: dict[int, list[int]] = {}
    for index, run in enumerate(unfolded(runs)):
        if id(run) not in found:
            found[id(run)] = places.setdefault(_contents(run), (run, []))[1]
        found[id(run)].append(index)
    return ((run, tuple(layers)) for run, layers in places.values())


def unfolded(runs: tuple[Run, ...]) -> Iterator[Run]:
    """The run of every layer, first layer first, repeats and patterns unfolded."""
    for run in runs:
        for _ in range(run.repeat):
            if run.pattern:
                yield from unfolded(run.pattern)
            else:
                yield run


def _contents(run: Run) -> tuple[object, ...]:
    """What makes two layers identical: everything but how often their runs repeat."""
    return (
        block_names(run.attention),
        block_names(run.ffn),
        norm_count(run),
        tuple(_tensor(tensor) for tensor in run.tensors),
    )


def _layer(spec: ModelSpec, part: ModelSpec | Part, run: Run) -> Body:
    hidden, source = part.hidden or spec.hidden, _source_width(spec)
    attention = [
        attention_body(part.attention.get(name) or spec.attention[name], hidden, source)
        for name in block_names(run.attention)
    ]
    ffn = [
        ffn_body(part.ffn.get(name) or spec.ffn[name], hidden, spec.vocab) for name in block_names(run.ffn)
    ]
    bodies = [*_numbered(attention), *_numbered(ffn)]
    if part.hyper_connections is not None:
        bodies += [_hyper(part.hyper_connections, hidden, index) for index in range(len(bodies))]
    return Body(
        tuple(w for body in bodies for w in body.weights),
        tuple(s for body in bodies for s in body.states),
        tuple(o for body in bodies for o in body.operations),
    )


def _source_width(spec: ModelSpec) -> int:
    """Width of what cross-attention takes its keys and values from: the encoder's output."""
    encoders = (part.hidden for part in spec.parts.values() if part.role == "encoder")
    return next(encoders, None) or spec.hidden


def _numbered(bodies: list[Body]) -> list[Body]:
    """Bodies with distinct tensor names: where two blocks of a layer share an owner, it is numbered."""
    owners = [{weight.name.partition(".")[0] for weight in body.weights} for body in bodies]
    result = []
    for index, body in enumerate(bodies):
        numbered = body
        for owner in sorted(owners[index]):
            if sum(owner in other for other in owners) > 1:
                numbered = numbered.renamed(owner, sum(owner in other for other in owners[:index]))
        result.append(numbered)
    return result


def _norm_weights(name: str, norm: Norm, hidden: int, count: int) -> tuple[Weight, ...]:
    if count == 0:
        return ()
    weight = Weight(f"{name}.weight", "norm", (hidden,), count, count, use="vector")
    if norm.bias:
        return (weight, Weight(f"{name}.bias", "norm", (hidden,), count, count, use="vector"))
    return (weight,)


def _hyper(streams: int, hidden: int, index: int) -> Body:
    """Manifold-constrained hyper-connections: read, write and mixing maps of `streams` residual streams.

    The streams are mixed by a [streams, streams] matrix computed for each token.
    """
    maps = streams * (streams + 2)
    mix = Operation(f"hyper.{index}.mix", "hyper_connections", 2 * streams * streams * hidden, None)
    return Body(_hyper_maps(f"hyper.{index}", maps, streams * hidden, 3), operations=(mix,))


def _hyper_head(streams: int, hidden: int) -> tuple[Weight, ...]:
    return _hyper_maps("hyper.head", streams, streams * hidden, 1)


def _hyper_maps(owner: str, maps: int, width: int, scales: int) -> tuple[Weight, ...]:
    component = "hyper_connections"
    return (
        Weight(f"{owner}.maps", component, (maps, width)),
        Weight(f"{owner}.base", component, (maps,), use="vector"),
        Weight(f"{owner}.scale", component, (scales,), use="vector"),
    )


def _tensor(tensor: Tensor) -> Weight:
    use = tensor.use or ("vector" if len(tensor.shape) == 1 else "matmul")
    shape, copies = tensor.shape, 1
    if use == "lookup":
        copies, shape = shape[0], shape[1:]
    return Weight(
        tensor.name,
        tensor.copy_of or tensor.component,
        shape,
        copies,
        use=use,
        buffer=tensor.buffer,
        copy=tensor.copy_of is not None,
    )
