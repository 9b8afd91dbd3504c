"""The replica: a plain decoder, or encoder and decoder, run from a spec with real caches and real routing.

Legend: B sequences, T new tokens, S tokens of a source, D hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from moe_plan.errors import ReplicaError
from moe_plan.replica.attention.gqa import Widths
from moe_plan.replica.block import Block
from moe_plan.replica.call import Call, Options
from moe_plan.replica.extra import Extra
from moe_plan.replica.hyper import HyperHead
from moe_plan.replica.labels import named
from moe_plan.replica.layers import Layer, Place
from moe_plan.replica.norm import Norms
from moe_plan.replica.unfold import block_names, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.cache import Cache
    from moe_plan.replica.store import State
    from moe_plan.spec.model import ModelSpec, Part

DEFAULT = Options()


class Stack(Block):
    """The layers of the decoder or of an encoder, with the norm after them."""

    def __init__(self, spec: ModelSpec, part: ModelSpec | Part, name: str, source: int) -> None:
        super().__init__()
        self.part = name
        self.hidden = part.hidden or spec.hidden
        self.rms = part.norm or spec.norm
        runs = layers_of(part.layers)
        widths = Widths(self.hidden, source)
        self.layers = nn.ModuleList(
            Layer(
                run,
                [part.attention.get(name) or spec.attention[name] for name in block_names(run.attention)],
                [part.ffn.get(name) or spec.ffn[name] for name in block_names(run.ffn)],
                Place(spec, widths, self.rms, part.hyper_connections, index, len(runs)),
            )
            for index, run in enumerate(runs)
        )
        # A part of tensors alone has nothing to norm or to collapse.
        self.has_final_norm = part.final_norm and bool(runs)
        self.final = Norms(self.rms, int(self.has_final_norm), self.hidden, owner="norm.final")
        streams = part.hyper_connections if runs else None
        self.collapse = HyperHead(streams, self.hidden, self.rms) if streams is not None else None
        self.streams = streams
        self.extra = Extra(part.tensors)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of every layer as `3.attention.q`, then those outside the layers."""
        for index, layer in enumerate(self._layers()):
            yield from ((f"{index}.{name}", tensor) for name, tensor in layer.tensors())
        yield from self.final.tensors()
        if self.collapse is not None:
            yield from self.collapse.tensors()
        yield from self.extra.tensors()

    def _layers(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]

    def states(self, batch: int, capacity: int, like: Tensor) -> list[list[State]]:
        """An empty cache for each mixer of each layer."""
        return [layer.states(batch, capacity, like) for layer in self._layers()]

    def owners(self) -> list[list[frozenset[str]]]:
        """Of each mixer of each layer, the owners that its tensors are named after."""
        return [layer.owners() for layer in self._layers()]

    def forward(self, x_BTD: Tensor, states: list[list[State]] | None, call: Call) -> Tensor:
        """The normed output of the last layer, [B, T, D]."""
        x = x_BTD
        if self.streams is not None:
            x = x.unsqueeze(2).repeat(1, 1, self.streams, 1)
        for index, layer in enumerate(self._layers()):
            call.layer = index
            with named(f"{self.part}.{index}"):
                x = layer(x, None if states is None else states[index], call)
        if self.collapse is not None:
            with named(self.part):
                x = self.collapse(x)
        return self.final(x, 0) if self.has_final_norm else x


class Replica(Block):
    """A model from a spec alone; made on the meta device, see `moe_plan.replica.build`."""

    embedding: Tensor
    lm_head: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        encoders = {name: part for name, part in spec.parts.items() if part.role == "encoder"}
        source = next((part.hidden for part in encoders.values() if part.hidden), spec.hidden)
        self.declare("embedding", spec.vocab, spec.hidden)
        if not spec.tied:
            self.declare("lm_head", spec.vocab, spec.hidden)
        self.head_bias = Head(spec)
        self.decoder = Stack(spec, spec, "decoder", source)
        self.encoders = nn.ModuleDict(
            {name: Stack(spec, part, name, source) for name, part in encoders.items()}
        )

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor as `part.layer.name`: `decoder.3.attention.q`, `decoder.lm_head`."""
        yield from ((f"decoder.{name}", getattr(self, name)) for name in self._starts)
        yield from ((f"decoder.{name}", tensor) for name, tensor in self.head_bias.tensors())
        for part, stack in (("decoder", self.decoder), *self.encoders.items()):
            assert isinstance(stack, Stack)
            yield from ((f"{part}.{name}", tensor) for name, tensor in stack.tensors())

    def forward(
        self,
        ids_BT: Tensor,
        cache: Cache | None = None,
        options: Options = DEFAULT,
        source_BS: Tensor | None = None,
    ) -> Tensor:
        """Logits of the new tokens [B, T, V], or of the last one [B, 1, V]; `cache` is extended in place.

        An encoder-decoder takes `source_BS`, the encoder's tokens, with the first call of a sequence.
        """
        start = 0 if cache is None else cache.tokens
        source = None if source_BS is None else self.encode(source_BS, options)
        call = Call(ids_BT, start, self.spec.norm, options, source)
        x_BTD = self._embedded(ids_BT)
        x_BTD = self.decoder(x_BTD, None if cache is None else cache.layers, call)
        if options.logits == "last":
            x_BTD = x_BTD[:, -1:]
        if cache is not None:
            cache.tokens += ids_BT.shape[1]
        return self._logits(x_BTD)

    def encode(self, source_BS: Tensor, options: Options = DEFAULT) -> Tensor:
        """Output of the encoder, [B, S, D]."""
        # Rows are counted by decoder layer.
        options = replace(options, counts=None)
        x_BSD = self._embedded(source_BS)
        for stack in self.encoders.values():
            assert isinstance(stack, Stack)
            if stack.hidden != x_BSD.shape[-1]:
                message = (
                    f"{stack.part} is {stack.hidden} wide, and what it reads {x_BSD.shape[-1]}: "
                    "the spec does not say how one becomes the other"
                )
                raise ReplicaError(message)
            x_BSD = stack(x_BSD, None, Call(source_BS, 0, stack.rms, options))
        return x_BSD

    def _embedded(self, ids_BT: Tensor) -> Tensor:
        x_BTD = functional.embedding(ids_BT, self.embedding)
        scale = self.spec.embedding_scale
        factor = self.spec.hidden**0.5 if scale == "sqrt-hidden" else scale
        return x_BTD if factor == 1.0 else x_BTD.mul_(factor)

    def _logits(self, x_BTD: Tensor) -> Tensor:
        spec = self.spec
        factor = spec.hidden**-0.5 if spec.logit_scale == "rsqrt-hidden" else spec.logit_scale
        weight = self.embedding if spec.tied else self.lm_head
        bias = self.head_bias.bias if spec.head_bias else None
        # As rows: of a slice, a product of three dimensions would fetch the table once for each sequence.
        rows = x_BTD.reshape(-1, x_BTD.shape[-1])
        logits_BTV = functional.linear(rows, weight, bias).view(*x_BTD.shape[:2], -1)
        if factor != 1.0:
            logits_BTV.mul_(factor)
        if spec.logit_softcap is not None:
            logits_BTV.div_(spec.logit_softcap).tanh_().mul_(spec.logit_softcap)
        return logits_BTV


class Head(Block):
    """The bias of the output head, where there is one."""

    owner = "lm_head"
    bias: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.head_bias:
            self.declare("bias", spec.vocab, start="vector")
