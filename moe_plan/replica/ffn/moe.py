"""A mixture of experts: router, routed experts, shared expert.

Legend: B sequences, T tokens (all of all sequences where no B stands beside it), D hidden, L width in which
the experts work (D, or a latent), E experts, K experts of a token, F width of an expert, U columns of the up
product (2F where gated, gate first, else F).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from moe_plan.replica.block import Block
from moe_plan.replica.ffn.activations import activation
from moe_plan.replica.ffn.dense import Shared
from moe_plan.replica.ffn.experts import ExpertWeights, run_experts
from moe_plan.replica.ffn.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.replica.ffn.dispatch import Choice
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.model import Norm


class Experts(Block):
    """The routed experts' weights, stored [E, in, out] with gate and up as one."""

    owner = "experts"
    up: Tensor
    down: Tensor
    up_bias: Tensor | None
    down_bias: Tensor | None
    output_bias: Tensor
    latent_down: Tensor
    latent_up: Tensor

    def __init__(self, spec: MoeFfn, hidden: int) -> None:
        super().__init__()
        self.ups = ("gate", "up") if spec.gated else ("up",)
        inner, columns = spec.latent or hidden, len(self.ups) * spec.width
        self.declare("up", spec.experts, inner, columns, fan_in=inner)
        self.declare("down", spec.experts, spec.width, inner, fan_in=spec.width)
        if spec.bias:
            self.declare("up_bias", spec.experts, columns, start="vector")
            self.declare("down_bias", spec.experts, inner, start="vector")
        else:
            self.up_bias = self.down_bias = None
        if spec.output_bias:
            self.declare("output_bias", hidden, start="vector")
        if spec.latent is not None:
            self.declare("latent_down", spec.latent, hidden)
            self.declare("latent_up", hidden, spec.latent)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor under its name; gate and up, and their biases, as views of what holds both."""
        for name in self._starts:
            tensor: Tensor = getattr(self, name)
            if name in {"up", "up_bias"}:
                parts = zip(self.ups, tensor.chunk(len(self.ups), -1), strict=True)
                yield from ((f"{self.owner}.{name.replace('up', part)}", view) for part, view in parts)
            else:
                yield f"{self.owner}.{name}", tensor

    @property
    def weights(self) -> ExpertWeights:
        """What the sparse layer multiplies by."""
        return ExpertWeights(self.up, self.down, self.up_bias, self.down_bias)


class SharedGate(Block):
    """The gate on the shared expert: one number a token (Qwen)."""

    owner = "shared_gate"
    weight: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.declare("weight", 1, hidden)

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, 1], between 0 and 1."""
        return functional.linear(x_TD, self.weight).sigmoid_()


class Moe(Block):
    """One mixture of experts of a layer."""

    def __init__(self, spec: MoeFfn, hidden: int, vocab: int, norm: Norm) -> None:
        super().__init__()
        self.spec = spec
        self.act = activation(spec.activation, gated=spec.gated, limit=spec.limit)
        self.router = Router(spec, hidden, vocab, norm)
        self.experts = Experts(spec, hidden)
        self.shared = None if spec.shared_width is None else Shared(spec, hidden, spec.shared_width)
        self.shared_gate = SharedGate(hidden) if spec.shared_gate else None
        self.run: Callable[..., Tensor] = run_experts
        """What computes the experts; expert parallelism puts its own here, of the same parameters."""

    @property
    def choices(self) -> int:
        """What a token chooses among: experts and zero-compute experts."""
        return self.spec.experts + self.spec.zero_experts

    def forward(self, x_BTD: Tensor, call: Call, routed_by_BTD: Tensor | None = None) -> Tensor:
        """[B, T, D]; `routed_by` is what the router sees where that is not the experts' input (Gemma 4)."""
        x_TD = x_BTD.reshape(-1, x_BTD.shape[-1])
        seen_TD = x_TD if routed_by_BTD is None else routed_by_BTD.reshape(x_TD.shape)
        y_TD = self.mix(x_TD, self.route(seen_TD, call))
        if self.shared is not None:
            shared_TD = self.shared(x_TD)
            if self.shared_gate is not None:
                shared_TD.mul_(self.shared_gate(x_TD))
            y_TD.add_(shared_TD)
        return y_TD.view(x_BTD.shape)

    def route(self, x_TD: Tensor, call: Call) -> Choice:
        """Experts of each token: the router's, or those of a forced routing.

        Tokens of each expert are counted here where the options ask for them, and where the routing is
        forced: its ids are on the CPU, so that no device is waited for.
        """
        options, forced_TK = call.options, None
        if options.routing is not None:
            forced_TK = options.routing.choose(call.layer, len(x_TD), self.spec.top_k, self.choices)
        choice: Choice = self.router(x_TD, call.ids_BT.reshape(-1), forced_TK)
        if forced_TK is None and options.counts is None:
            return choice
        chosen_TK = choice.experts_TK if forced_TK is None else forced_TK
        counts = tuple(chosen_TK.reshape(-1).bincount(minlength=self.choices).tolist())
        if options.counts is not None:
            options.counts[call.layer] = counts
        return choice._replace(counts=counts[: self.spec.experts])

    def mix(self, x_TD: Tensor, choice: Choice) -> Tensor:
        """Weighted sum of each token's experts, [T, D], in their latent width where they have one."""
        experts, latent = self.experts, self.spec.latent is not None
        x_TL = functional.linear(x_TD, experts.latent_down) if latent else x_TD
        y_TL = self.run(x_TL, choice, experts.weights, self.act, weigh_input=self.spec.router.weigh_input)
        y_TD = functional.linear(y_TL, experts.latent_up) if latent else y_TL
        return y_TD.add_(experts.output_bias) if self.spec.output_bias else y_TD
