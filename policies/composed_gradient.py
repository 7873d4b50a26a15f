"""The gradient of Q_w in a composed graph, written out, and the steps along it that `policies.refinement` takes.

Backwards through a stack of layers a row of numbers g is carried by

    y = x W + b            g <- g W^T
    y = max(x, 0)          g <- g where x > 0, else 0
    y = n(x) gain + shift  g <- (g' - mean g' - n mean(g' n)) / std,  g' = g gain    (layer normalisation)

All constants are those of the critics that stand in the graph already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from policies.composed_q import NEVER
from policies.refinement import step_sizes

if TYPE_CHECKING:
    from policies.composed_graph import Nodes

EPSILON = 1e-5
"""Of layer normalisation, as torch has it."""


class Ascent:
    """Writes the steps; each has names of its own."""

    def __init__(self, nodes: Nodes) -> None:
        """Args: nodes: of a graph in which Q_w of the candidates stands already."""
        self.nodes, self.composed = nodes, nodes.composed
        self.node, self.constant = nodes.node, nodes.constant

    def write(self, u: str, scale: str, action: str, value: str) -> None:
        """Adds all steps.

        Args:
            u: name of the pre-tanh action to begin with, (B, d).
            scale: name of sigma, (B, d).
            action: name to give to the action in the end, (B, d).
            value: name to give to its Q_w, (B,).
        """
        node = self.node
        apart = node("Sub", [self.constant("refine_one", 1.0), self._square_of_weights()], "refine_apart")  # (1,)
        reach = node("Mul", [scale, apart], "refine_reach")  # (B, d)
        per_nat = node("Div", [scale, "temperature"], "refine_per_nat")  # (B, d)
        bounds = [self.constant("refine_least", -1.0), self.constant("refine_most", 1.0)]
        sizes = step_sizes(self.nodes.settings.refinement)
        for index, size in enumerate(sizes):
            name = f"refine_{index}"
            a = node("Tanh", [u], f"{name}_action")
            gradient = self._q(name, a, gradient=True)  # with respect to a
            slope = node("Sub", ["refine_one", node("Mul", [a, a], f"{name}_square")], f"{name}_slope")
            nats = node("Mul", [node("Mul", [gradient, slope], f"{name}_gradient_u"), per_nat], f"{name}_nats")
            way = node("Mul", [node("Clip", [nats, *bounds], f"{name}_clipped"), reach], f"{name}_way")
            u = node("Add", [u, self.nodes.scaled(way, size, f"{name}_step")], f"{name}_u")
        node("Tanh", [u], action)
        q = self._q("refined", action, gradient=False)  # (B, 1)
        node("Squeeze", [q, self.nodes.axes(1)], value)

    def _q(self, name: str, action: str, gradient: bool) -> str:
        """Q_w (B, 1), or its gradient with respect to the action (B, d)."""
        node, composed = self.node, self.composed
        values, slopes = [], []
        for index, skill in enumerate(composed.skills):
            factor = composed.alpha / skill.alpha
            stack = f"skill_{index}"
            q, g = self._stack(f"{name}_{stack}", stack, skill.critics, action, gradient)
            values.append(self.nodes.scaled(q, factor, f"{name}_{stack}_q"))
            if g:
                row = self.nodes.unsqueeze(g, 1, f"{name}_{stack}_row")
                slopes.append(self.nodes.scaled(row, factor, f"{name}_{stack}_gradient"))
        q = node("Concat", values, f"{name}_skill_q", axis=1)  # (B, N)
        found = self._combined(name, q, slopes)
        if composed.joint is not None:
            q, g = self._stack(f"{name}_together", "joint", composed.joint.critics, action, gradient)  # nats
            learnt = self.nodes.scaled(g or q, composed.alpha, f"{name}_learnt")
            change = node("Mul", ["say", node("Sub", [learnt, found], f"{name}_change")], f"{name}_say_change")
            return node("Add", [found, change], f"{name}_together")
        if composed.correction is None:
            return found
        stack = "correction"
        q, g = self._stack(f"{name}_{stack}", stack, composed.correction.critics, action, gradient)
        nats = node("Mul", [g or q, "vanishing"], f"{name}_correction_nats")
        return node("Sub", [found, self.nodes.scaled(nats, composed.alpha, f"{name}_correction")], f"{name}_corrected")

    def _combined(self, name: str, q: str, slopes: list[str]) -> str:
        """The skills' Q (B, N) as one (B, 1), or, where there are any, their gradients (B, 1, d) as one (B, d)."""
        node, alpha, kind = self.node, self.composed.alpha, self.composed.kind
        share = "weight_column"  # (N, 1)
        if kind == "or":
            nats = self.nodes.scaled(q, 1.0 / alpha, f"{name}_q_nats")
            joint = node("Add", [node("Log", ["weights"], f"{name}_log_weights"), nats], f"{name}_joint")
            allowed = self._with_weight(name, joint)
            if not slopes:
                total = node("ReduceLogSumExp", [allowed], f"{name}_nats_or", axes=[1], keepdims=1)
                return self.nodes.scaled(total, alpha, f"{name}_q")
            # d Q / d Q_i = w_i exp(Q_i / alpha), normalised
            share = self.nodes.unsqueeze(node("Softmax", [allowed], f"{name}_soft", axis=1), 2, f"{name}_share")
        elif kind == "gpi":
            allowed = self._with_weight(name, q)
            if not slopes:
                return node("ReduceMax", [allowed], f"{name}_q", axes=[1], keepdims=1)
            most = node("ReduceMax", [allowed], f"{name}_most", axes=[1], keepdims=1)
            best = self._shared(f"{name}_best", node("Equal", [allowed, most], f"{name}_is_best"))
            share = self.nodes.unsqueeze(best, 2, f"{name}_share")
        elif not slopes:
            weighted = node("Mul", ["weights", q], f"{name}_weighted_q")
            return self.nodes.sum(weighted, 1, f"{name}_q", keep=True)
        stacked = node("Concat", slopes, f"{name}_gradients", axis=1)  # (B, N, d)
        return self.nodes.sum(node("Mul", [stacked, share], f"{name}_shared"), 1, f"{name}_gradient")

    def _stack(self, name: str, stack: str, critics: Any, action: str, gradient: bool) -> tuple[str, str]:
        """The least Q of a stack (B, 1), and its gradient with respect to the action (B, d), "" if not asked for."""
        node = self.node
        pairs = [
            self._critic(f"{name}_{c}", f"{stack}_critic_{c}", critics, c, action, gradient)
            for c in range(critics.count)
        ]
        values = [q for q, _ in pairs]
        least = node("Min", values, f"{name}_least")
        if not gradient or len(pairs) == 1:
            return least, pairs[0][1]
        lowest = node("Equal", [node("Concat", values, f"{name}_values", axis=1), least], f"{name}_lowest")  # (B, C)
        share = self.nodes.unsqueeze(self._shared(f"{name}_least_of", lowest), 2, f"{name}_share")  # (B, C, 1)
        rows = [self.nodes.unsqueeze(g, 1, f"{name}_{c}_row") for c, (_, g) in enumerate(pairs)]
        stacked = node("Concat", rows, f"{name}_gradients", axis=1)  # (B, C, d)
        return least, self.nodes.sum(node("Mul", [stacked, share], f"{name}_shared"), 1, f"{name}_least_gradient")

    def _critic(
        self, name: str, constants: str, critics: Any, c: int, action: str, gradient: bool
    ) -> tuple[str, str]:
        """Q of one critic (B, 1), and its gradient (B, d)."""
        node, depth = self.node, len(critics.hidden)
        x = node("Gemm", [action, f"{constants}_action_weight", self.nodes.known[constants]], f"{name}_linear_0")
        behind = []  # of every layer, what its gradient needs
        for layer in range(depth):
            if layer:
                weights = [f"{constants}_linear_{layer}_weight", f"{constants}_linear_{layer}_bias"]
                x = node("Gemm", [x, *weights], f"{name}_linear_{layer}")
            normal = std = ""
            if critics.norms is not None:
                x, normal, std = self._normalized(f"{name}_norm_{layer}", constants, layer, x)
            behind.append((x, normal, std))
            x = node("Relu", [x], f"{name}_hidden_{layer}")
        unit = "" if critics.unit == 1.0 else self.constant(f"{name}_unit", critics.unit)
        q = node("Gemm", [x, f"{constants}_out_weight", f"{constants}_out_bias"], f"{name}_out")
        q = node("Mul", [q, unit], f"{name}_value") if unit else q
        if not gradient:
            return q, ""
        g = node("Transpose", [f"{constants}_out_weight"], f"{name}_out_row", perm=[1, 0])  # (1, H)
        for layer in reversed(range(depth)):
            before, normal, std = behind[layer]
            active = node("Greater", [before, self.constant(f"{name}_zero_{layer}", 0.0)], f"{name}_active_{layer}")
            g = node("Where", [active, g, f"{name}_zero_{layer}"], f"{name}_back_{layer}")  # (B, H)
            if normal:
                g = self._back_through_norm(f"{name}_norm_{layer}", f"{constants}_gain_{layer}", g, normal, std)
            weight = f"{constants}_linear_{layer}_weight" if layer else f"{constants}_action_weight"
            g = node("Gemm", [g, weight], f"{name}_gradient_{layer}", transB=1)
        return q, node("Mul", [g, unit], f"{name}_gradient") if unit else g

    def _normalized(self, name: str, constants: str, layer: int, x: str) -> tuple[str, str, str]:
        """The normalised layer, what it is before gain and shift, and its standard deviation."""
        node = self.node
        mean = node("ReduceMean", [x], f"{name}_mean", axes=[1], keepdims=1)
        away = node("Sub", [x, mean], f"{name}_away")
        variance = node("ReduceMean", [node("Mul", [away, away], f"{name}_square")], f"{name}_variance", axes=[1])
        kept = node("Add", [variance, self.constant(f"{name}_epsilon", EPSILON)], f"{name}_kept")
        std = node("Sqrt", [kept], f"{name}_std")
        normal = node("Div", [away, std], f"{name}_normal")
        gained = node("Mul", [normal, f"{constants}_gain_{layer}"], f"{name}_gained")
        return node("Add", [gained, f"{constants}_shift_{layer}"], f"{name}_shifted"), normal, std

    def _back_through_norm(self, name: str, gain: str, g: str, normal: str, std: str) -> str:
        node = self.node
        g = node("Mul", [g, gain], f"{name}_back_gain")
        mean = node("ReduceMean", [g], f"{name}_back_mean", axes=[1])
        along = node("ReduceMean", [node("Mul", [g, normal], f"{name}_back_product")], f"{name}_back_along", axes=[1])
        rest = node("Sub", [g, mean], f"{name}_back_centred")
        rest = node("Sub", [rest, node("Mul", [normal, along], f"{name}_back_removed")], f"{name}_back_rest")
        return node("Div", [rest, std], f"{name}_back")

    def _with_weight(self, name: str, worth: str) -> str:
        """What the skills are worth (B, N), and NEVER for those without weight."""
        some = self.node("Greater", ["weights", self.constant(f"{name}_no_weight", 0.0)], f"{name}_some")
        return self.node("Where", [some, worth, self.constant(f"{name}_never", NEVER)], f"{name}_allowed")

    def _shared(self, name: str, condition: str) -> str:
        """One where a condition (B, N) holds, else zero, divided by how many hold in the row, as torch does."""
        picked = self.node("Cast", [condition], f"{name}_picked", to=TensorProto.FLOAT)
        return self.node("Div", [picked, self.nodes.sum(picked, 1, f"{name}_count", keep=True)], name)

    def _square_of_weights(self) -> str:
        return self.node("ReduceSumSquare", ["weights"], "refine_weights_square", axes=[0], keepdims=1)
