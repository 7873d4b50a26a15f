"""The ONNX graph of a composed policy: critics and actors of N skills, candidates, and the choice among them.

    observation ─┬─ normalise ─ actor 1 ─┬─ product, disagreement
                 ├─ ...                  ├─ points between the means ─┬─ critics ─ Q_w ─┬─ best of the points ── action
                 └─ normalise ─ actor N ─┴─ draws with their density ─┘                 └─ by weight and Gumbel ─ sample
    weights, temperature, noise enter where `policies.candidates` has them

It computes what `policies.candidates` computes, in the same order. The parts of the critics that see the observation
alone are computed once for all candidates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor

from policies.actors import sampler_sizes
from policies.candidates import LEAST_PROBABILITY, PRODUCT_SHARE, CandidatePolicy
from policies.composed_energy_graph import disagreement_of_energies, energy_proposals
from policies.composed_gradient import Ascent
from policies.composed_q import LEAST_WEIGHT, NEVER
from policies.draws import PHASE
from policies.graph import Graph, action_map, linear_layers, normalize, value
from policies.joint import Joint
from policies.skills import Skill
from robot_rl.algorithms.distributions import HALF_LOG_2_PI, LOG_2
from robot_rl.algorithms.energy_policy import EnergyPolicy
from robot_rl.errors import ConfigurationError


def composed_graph(policy: CandidatePolicy, weights: Tensor, temperature: float) -> bytes:
    """The ONNX model of a composed policy, without metadata.

    Args:
        policy: what it shall compute.
        weights: (N,), used where none are given.
        temperature: used where none is given, reward units per nat.
    """
    composed, settings = policy.composed, policy.settings
    graph = Graph()
    nodes = Nodes(graph, policy)
    graph.constant("weights", weights)
    graph.constant("temperature", [temperature])
    graph.constant("noise", settings.noise[None])
    nodes.write()
    task = composed.skills[0].task
    to_command = action_map(graph, task)
    to_command("action", "command")
    to_command("sampled_action", "sampled_command")

    draws, actions = settings.noise.shape
    joints, batch = task.spec.joints, "noise_batch"
    inputs = [
        value("observation", composed.observation_size, "raw, SI units; see the contract in the metadata"),
        _tensor("weights", [len(composed.skills)], "of the skills, >= 0, sum 1; may be left out"),
        _tensor("temperature", [1], "> 0, reward units per nat; may be left out"),
        _tensor("noise", [batch, draws, actions], "standard normal; may be left out, `action` does not depend on it"),
    ]
    one = ["batch"]
    outputs = [
        value("action", actions - 1, "deterministic, in [-1, 1]"),
        value("command", joints, "joint positions for it, rad or m, inside the limits"),
        value("sampled_action", actions - 1, "sampled with the noise, in [-1, 1]"),
        value("sampled_command", joints, "joint positions for it, rad or m, inside the limits"),
        _tensor("value", one, "Q of the action, reward units"),
        _tensor("sampled_value", one, "Q of the sampled action, reward units"),
        _tensor("effective_sample_size", one, f"of the {draws} draws"),
        _tensor("disagreement", one, "of the skills, nats"),
    ]
    return graph.model(inputs, outputs)


class Nodes:
    """Writes the nodes; every method names its outputs by its first argument or its purpose."""

    def __init__(self, graph: Graph, policy: CandidatePolicy) -> None:
        self.graph, self.composed, self.settings = graph, policy.composed, policy.settings
        self.node = graph.node
        self.skills = len(self.composed.skills)
        self.points, (self.draws, width) = policy.points, policy.settings.noise.shape
        self.noise_width = width - 1
        self.middle = ("product_mean", "product_log_std")
        """Mean and log standard deviation of all skills together, (B, d) each."""
        self.known: dict[str, str] = {}
        """By critic, the first layer's part that does not depend on the action, (B, H)."""

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        return self.graph.constant(name, value, dtype)

    def axes(self, *axes: int) -> str:
        """A constant list of axes, made once."""
        name = "axes_" + "_".join(map(str, axes)).replace("-", "m")
        if all(constant.name != name for constant in self.graph.constants):
            self.constant(name, list(axes), np.int64)
        return name

    def sum(self, x: str, axis: int, name: str, keep: bool = False) -> str:
        return self.node("ReduceSum", [x, self.axes(axis)], name, keepdims=int(keep))

    def unsqueeze(self, x: str, axis: int, name: str) -> str:
        return self.node("Unsqueeze", [x, self.axes(axis)], name)

    def scaled(self, x: str, factor: float, name: str) -> str:
        return self.node("Mul", [x, self.constant(f"{name}_factor", factor)], name)

    def write(self) -> None:
        """Everything from the inputs to the chosen actions."""
        node = self.node
        seen = self._observations()
        self.unsqueeze("weights", -1, "weight_column")  # (N, 1)
        cut = [self.constant("cut_start", [0], np.int64), self.constant("cut_stop", [self.noise_width], np.int64)]
        noise = node("Slice", ["noise", *cut, self.axes(-1)], "draw_noise")  # (B, K, d)
        if self.composed.energies:
            between, u, log_density = energy_proposals(self, seen, noise)
        else:
            mean, log_std = self._actors(seen)  # (B, N, d)
            weighted = self._product(mean, log_std)  # (B, N, d); names product_mean, product_log_std, disagreement
            if self.composed.joint is None:
                between = self._points(mean, weighted)  # (B, H, d)
            else:
                self.middle = self._joint(self.composed.joint, seen[0])
                between = self.unsqueeze(self.middle[0], 1, "points_u")  # (B, 1, d)
            u, log_density = self._draws(mean, log_std, noise)
            self.log_slope(u)
        points, draws = node("Tanh", [between], "points"), node("Tanh", [u], "draws")  # (B, H, d), (B, K, d)
        q = self._q(seen, node("Concat", [points, draws], "candidates", axis=1))  # (B, H + K)
        sizes = self.constant("sizes", [self.points, self.draws], np.int64)
        self.graph.nodes.append(helper.make_node("Split", [q, sizes], ["points_q", "draws_q"], name="split_q", axis=1))
        if self.composed.energies:
            disagreement_of_energies(self, log_density)
        score = self._scores(log_density)
        if self.settings.refinement:
            best = node("ArgMax", ["points_q"], "best_point", axis=1, keepdims=1)  # (B, 1)
            start = node("GatherND", [between, best], "refine_start", batch_dims=1)  # (B, d)
            Ascent(self).write(start, self._scale(), "action", "value")
        else:
            self._choose("points_q", "points_q", points, "action", "value")
        self._choose(score, "draws_q", draws, "sampled_action", "sampled_value")

    def _scale(self) -> str:
        """How far the skills' own draws spread before the tanh, (B, d)."""
        if not self.composed.energies:
            return self.node("Exp", [self.middle[1]], "product_std")
        rows = self.node("Squeeze", ["width", self.axes(2)], "width_rows")  # (B, N, d)
        return self.sum(self.node("Mul", [rows, "weight_column"], "weighted_width"), 1, "mean_width")

    def _observations(self) -> list[str]:
        """Normalised for each skill; those that normalise alike share it."""
        seen: list[str] = []
        known: list[tuple[Any, str]] = []
        for index, skill in enumerate(self.composed.skills):
            ours = skill.normalizer
            name = next((name for other, name in known if _same(ours, other)), None)
            if name is None:
                name = normalize(self.graph, ours, f"skill_{index}_")
                known.append((ours, name))
            seen.append(name)
        return seen

    def _actors(self, seen: list[str]) -> tuple[str, str]:
        """Mean and log standard deviation of all skills, (B, N, d)."""
        graph, node = self.graph, self.node
        means, log_stds = [], []
        for index, (skill, observation) in enumerate(zip(self.composed.skills, seen, strict=True)):
            actor: Any = skill.actor
            x = observation
            if not linear_layers(*actor.hidden, actor.head):
                raise ConfigurationError(f"skill {skill.name!r}: the actor's layers are not linear ones")
            for depth, layer in enumerate(actor.hidden):
                name = f"actor_{index}_hidden_{depth}"
                x = node("Relu", [graph.linear(x, f"{name}_linear", layer.weight, layer.bias)], name)
            head = graph.linear(x, f"actor_{index}_head", actor.head.weight, actor.head.bias)  # (B, 2 d)
            half = actor.head.out_features // 2
            pair = self.constant(f"actor_{index}_halves", [half, half], np.int64)
            parts = [f"actor_{index}_mean", f"actor_{index}_raw_log_std"]
            graph.nodes.append(helper.make_node("Split", [head, pair], parts, name=f"actor_{index}_split", axis=1))
            bounds = [
                self.constant(f"actor_{index}_log_std_min", actor.log_std_min),
                self.constant(f"actor_{index}_log_std_max", actor.log_std_max),
            ]
            log_std = node("Clip", [parts[1], *bounds], f"actor_{index}_log_std")
            means.append(self.unsqueeze(parts[0], 1, f"actor_{index}_mean_row"))
            log_stds.append(self.unsqueeze(log_std, 1, f"actor_{index}_log_std_row"))
        return node("Concat", means, "means", axis=1), node("Concat", log_stds, "log_stds", axis=1)

    def _product(self, mean: str, log_std: str) -> str:
        """The product's mean and log std (B, d) and the disagreement (B,), by name; returns w_i / v_i, (B, N, d)."""
        node = self.node
        column = "weight_column"  # (N, 1)
        weighted = node(
            "Mul", [column, node("Exp", [self.scaled(log_std, -2.0, "minus_2_log_std")], "inverse_v")], "wv"
        )
        precision = self.sum(weighted, 1, "precision")  # (B, d)
        total = self.sum(node("Mul", [weighted, mean], "wv_mean"), 1, "wv_mean_sum")
        node("Div", [total, precision], "product_mean")
        self.scaled(node("Log", [precision], "log_precision"), -0.5, "product_log_std")
        row = self.unsqueeze("product_mean", 1, "product_mean_row")
        inverse = node("Exp", [node("Neg", [log_std], "minus_log_std")], "inverse_std")  # (B, N, d)
        z = node("Mul", [node("Sub", [mean, row], "mean_apart"), inverse], "mean_apart_std")
        square = node("Mul", [column, node("Mul", [z, z], "mean_apart_square")], "w_apart")
        apart = self.scaled(self.sum(square, 1, "w_apart_sum"), 0.5, "apart")  # (B, d)
        spread = self.sum(node("Mul", [column, log_std], "w_log_std"), 1, "w_log_std_sum")
        # -log Z = sum_d [ sum_i w_i log sigma_i - log sigma + 1/2 sum_i w_i (mu_i - mu)^2 / v_i ]
        gap = node("Add", [node("Sub", [spread, "product_log_std"], "spread_gap"), apart], "disagreement_each")
        self.sum(gap, -1, "disagreement")
        return weighted

    def _points(self, mean: str, weighted: str) -> str:
        """Pre-tanh points between the means, (B, H, d)."""
        node = self.node
        share = self.constant("share", self.settings.share)  # (H, N, d)
        counted = node("Mul", [self.unsqueeze(weighted, 1, "wv_each"), share], "counted")  # (B, H, N, d)
        top = self.sum(node("Mul", [counted, self.unsqueeze(mean, 1, "means_each")], "counted_mean"), 2, "points_top")
        return node("Div", [top, self.sum(counted, 2, "points_bottom")], "points_u")

    def strata(self, shares: str, components: int) -> str:
        """Which component each draw is from, (K, C), for shares (C,); see `policies.draws`."""
        node, count = self.node, self.draws
        border = node("CumSum", [shares, self.constant("axis_0", 0, np.int64)], "borders")
        place = self.constant(
            "place", ((np.arange(count, dtype=np.float32) + np.float32(PHASE)) / np.float32(count))[:, None]
        )
        before = node("Cast", [node("Less", [place, border], "is_before")], "before_borders", to=TensorProto.FLOAT)
        last = self.constant("always_last", np.eye(components)[-1])
        before = node("Max", [before, last], "before")  # (K, C)
        shift = self.constant("shift", np.eye(components, k=1))
        return node("Sub", [before, node("MatMul", [before, shift], "before_shifted")], "chosen")

    def log_shares(self, chosen: str) -> str:
        """Logarithms of the shares as drawn, (C,)."""
        counted = self.node("ReduceMean", [chosen], "drawn_shares", axes=[0], keepdims=0)
        kept = self.node("Max", [counted, self.constant("least_weight", LEAST_WEIGHT)], "kept")
        return self.node("Log", [kept], "log_share")

    def log_slope(self, u: str) -> str:
        """sum log(1 - tanh^2 u) of draws (B, K, d), (B, K), as `log_slope`."""
        node = self.node
        # log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2u))
        soft = node("Softplus", [self.scaled(u, -2.0, "minus_2_u")], "softplus")
        inner = node("Sub", [node("Sub", [self.constant("log_2", LOG_2), u], "log_2_less_u"), soft], "half_log_slope")
        return self.sum(self.scaled(inner, 2.0, "log_slope_each"), 2, "log_slope")

    def _draws(self, mean: str, log_std: str, noise: str) -> tuple[str, str]:
        """Pre-tanh draws (B or noise's batch, K, d) and their log density (B, K)."""
        node = self.node
        first = self.constant("product_share", [PRODUCT_SHARE])
        rest = self.scaled("weights", 1.0 - PRODUCT_SHARE, "skill_shares")
        shares = node("Concat", [first, rest], "shares", axis=0)  # (1 + N,)
        chosen = self.strata(shares, 1 + self.skills)
        rows = [self.unsqueeze(name, 1, f"{name}_component") for name in self.middle]
        means = node("Concat", [rows[0], mean], "component_means", axis=1)  # (B, 1 + N, d)
        log_stds = node("Concat", [rows[1], log_std], "component_log_stds", axis=1)
        std = node("Exp", [node("MatMul", [chosen, log_stds], "draw_log_std")], "draw_std")
        u = node("Add", [node("MatMul", [chosen, means], "draw_mean"), node("Mul", [std, noise], "step")], "draws_u")
        log_share = self.log_shares(chosen)
        inverse = node("Exp", [node("Neg", [log_stds], "minus_component_log_stds")], "component_inverse_std")
        apart = node(
            "Sub", [self.unsqueeze(u, 2, "draws_each"), self.unsqueeze(means, 1, "component_means_each")], "away"
        )
        z = node("Mul", [apart, self.unsqueeze(inverse, 1, "component_inverse_std_each")], "away_std")  # (B, K, 1+N, d)
        half = self.scaled(node("Mul", [z, z], "away_square"), -0.5, "exponent")
        body = node("Sub", [half, self.unsqueeze(log_stds, 1, "component_log_stds_each")], "log_normal")
        each = self.sum(
            node("Sub", [body, self.constant("half_log_2_pi", HALF_LOG_2_PI)], "log_normal_each"), 3, "log_each"
        )
        total = node("Add", [each, log_share], "log_joint")
        return u, node("ReduceLogSumExp", [total], "log_density", axes=[2], keepdims=0)

    def _q(self, seen: list[str], actions: str) -> str:
        """Q_w of actions (B, H + K, d), as (B, H + K)."""
        node, composed = self.node, self.composed
        each = []
        for index, (skill, observation) in enumerate(zip(composed.skills, seen, strict=True)):
            q = self._critics(f"skill_{index}", skill.critics, observation, actions)
            least = node("Min", q, f"skill_{index}_least")
            each.append(self.scaled(least, composed.alpha / skill.alpha, f"skill_{index}_q"))
        count = self.points + self.draws
        rows = node("Concat", each, "skill_q_rows", axis=1)  # (B (H + K), N)
        shape = self.constant("skill_q_shape", [-1, count, self.skills], np.int64)
        columns = node("Reshape", [rows, shape], "skill_q_columns")  # (B, H + K, N)
        combined = self._combined(node("Transpose", [columns], "skill_q", perm=[0, 2, 1]))
        if composed.joint is not None:
            return self._joint_q(composed.joint, combined, seen[0], actions, count)
        if composed.correction is None:
            return combined
        (taken,) = self._critics("correction", composed.correction.critics, seen[0], actions, "weights")
        square = node("ReduceSumSquare", ["weights"], "weights_square", axes=[0], keepdims=1)
        factor = node("Sub", [self.constant("one_weight", 1.0), square], "vanishing")
        shape = self.constant("correction_shape", [-1, count], np.int64)
        nats = node("Mul", [node("Reshape", [taken, shape], "correction_values"), factor], "correction_nats")
        amount = self.scaled(nats, composed.alpha, "correction")
        return node("Sub", [combined, amount], "q")

    def _joint_q(self, joint: Joint, combined: str, observation: str, actions: str, count: int) -> str:
        """The mean Q with what was learnt together in its place, (B, H + K)."""
        node = self.node
        least = node("Min", self._critics("joint", joint.critics, observation, actions, "weights"), "joint_least_q")
        shape = self.constant("joint_shape", [-1, count], np.int64)
        learnt = self.scaled(node("Reshape", [least, shape], "joint_nats"), self.composed.alpha, "joint_q")
        change = node("Mul", ["say", node("Sub", [learnt, combined], "joint_change")], "joint_say_change")
        return node("Add", [combined, change], "q")

    def _joint(self, joint: Joint, observation: str) -> tuple[str, str]:
        """Mean and log standard deviation of the joint policy, (B, d) each, by name; writes `say`, (1,)."""
        graph, node, size = self.graph, self.node, self.composed.observation_size
        square = node("ReduceSumSquare", ["weights"], "weights_square", axes=[0], keepdims=1)
        mixed = self.scaled(node("Sub", [self.constant("one_weight", 1.0), square], "mixed"), 4.0, "mixed_4")
        share = node("Min", [mixed, self.constant("all_say", [1.0])], "say")
        network: Any = joint.actor
        first, *rest = network.hidden
        known = graph.linear(observation, "joint_observation", first.weight[:, :size], first.bias)
        row = node("MatMul", ["weights", self.constant("joint_beside", first.weight[:, size:].T)], "joint_beside_part")
        x = node("Relu", [node("Add", [known, row], "joint_linear_0")], "joint_hidden_0")
        for depth, layer in enumerate(rest, 1):
            linear = graph.linear(x, f"joint_linear_{depth}", layer.weight, layer.bias)
            x = node("Relu", [linear], f"joint_hidden_{depth}")
        head = graph.linear(x, "joint_head", network.head.weight, network.head.bias)  # (B, 2 d)
        halves = self.constant("joint_halves", [network.head.out_features // 2] * 2, np.int64)
        parts = ["joint_own_mean", "joint_raw_log_std"]
        graph.nodes.append(helper.make_node("Split", [head, halves], parts, name="joint_split", axis=1))
        bounds = [self.constant("joint_least", network.log_std_min), self.constant("joint_most", network.log_std_max)]
        node("Clip", [parts[1], *bounds], "joint_own_log_std")

        def blend(old: str, new: str, name: str) -> str:
            change = node("Mul", [share, node("Sub", [new, old], f"{name}_apart")], f"{name}_by")
            return node("Add", [old, change], name)

        mean = blend("product_mean", parts[0], "joint_mean")
        return mean, blend("product_log_std", "joint_own_log_std", "joint_log_std")

    def _combined(self, q: str) -> str:
        node, kind = self.node, self.composed.kind
        if kind == "conjunction":
            return self.sum(node("Mul", ["weight_column", q], "weighted_q"), 1, "combined_q")
        counts = node("Greater", ["weight_column", self.constant("no_weight", 0.0)], "has_weight")
        never = self.constant("never", NEVER)
        if kind == "gpi":
            allowed = node("Where", [counts, q, never], "allowed_q")
            return node("ReduceMax", [allowed], "combined_q", axes=[1], keepdims=0)
        nats = self.scaled(q, 1.0 / self.composed.alpha, "skill_q_nats")
        joint = node("Add", [node("Log", ["weight_column"], "log_weights"), nats], "or_joint")
        allowed = node("Where", [counts, joint, never], "or_allowed")
        total = node("ReduceLogSumExp", [allowed], "or_nats", axes=[1], keepdims=0)
        return self.scaled(total, self.composed.alpha, "combined_q")

    def _critics(
        self, stack: str, critics: Any, observation: str, actions: str, beside: str | None = None
    ) -> list[str]:
        """Each critic of a stack on actions (B, K, d), as (B K, 1).

        The first layer comes in parts, so that what does not depend on the action is computed once. `beside` names an
        input of no batch that stands between observation and action. Every critic has matrices of its own: ONNX Runtime
        prepares a constant matrix for multiplication when it loads, but not a stack of them.
        """
        graph, node, size = self.graph, self.node, self.composed.observation_size
        start = size if beside is None else size + self.skills
        values = []
        for c in range(critics.count):
            name = f"{stack}_critic_{c}"
            weight, bias = critics.hidden[0].weight[c], critics.hidden[0].bias[c, 0]  # (O + ... + d, H), (H,)
            known = graph.linear(observation, f"{name}_observation", weight[:size].T, bias)  # (B, H)
            if beside is not None:
                row = node(
                    "MatMul", [beside, self.constant(f"{name}_beside", weight[size:start])], f"{name}_beside_part"
                )
                known = node("Add", [known, row], f"{name}_known")
            self.known[name] = known
            acted = node("MatMul", [actions, self.constant(f"{name}_action_weight", weight[start:])], f"{name}_action")
            x = node("Add", [acted, self.unsqueeze(known, 1, f"{name}_known_each")], f"{name}_linear_0")  # (B, K, H)
            x = self._hidden(name, critics, c, 0, x)
            # From here on in rows: bias and ReLU are then one pass with the product.
            x = node("Reshape", [x, self.constant(f"{name}_rows", [-1, weight.shape[1]], np.int64)], f"{name}_in_rows")
            for depth, layer in enumerate(critics.hidden[1:], 1):
                x = graph.linear(x, f"{name}_linear_{depth}", layer.weight[c].T, layer.bias[c, 0])
                x = self._hidden(name, critics, c, depth, x)
            x = graph.linear(x, f"{name}_out", critics.head.weight[c].T, critics.head.bias[c, 0])  # (B K, 1)
            values.append(x if critics.unit == 1.0 else self.scaled(x, critics.unit, f"{name}_value"))
        return values

    def _hidden(self, name: str, critics: Any, c: int, depth: int, x: str) -> str:
        if critics.norms is not None:
            norm = critics.norms[depth]
            gain = self.constant(f"{name}_gain_{depth}", norm.gain[c, 0])
            shift = self.constant(f"{name}_shift_{depth}", norm.bias[c, 0])
            x = self.node("LayerNormalization", [x, gain, shift], f"{name}_norm_{depth}", epsilon=1e-5)
        return self.node("Relu", [x], f"{name}_hidden_{depth}")

    def _scores(self, log_density: str) -> str:
        """log weight + Gumbel noise, (B, K); writes `effective_sample_size`."""
        node = self.node
        nats = node("Div", ["draws_q", "temperature"], "q_nats")
        log_weight = node("Sub", [node("Add", [nats, "log_slope"], "log_target"), log_density], "log_weight")
        share = node("Softmax", [log_weight], "weight_shares", axis=-1)
        square = node("ReduceSumSquare", [share], "weight_squares", axes=[1], keepdims=0)
        node("Reciprocal", [square], "effective_sample_size")
        at = self.constant("choice_column", self.noise_width, np.int64)
        normal = node("Gather", ["noise", at], "choice_noise", axis=2)  # (B, K)
        erf = node("Erf", [self.scaled(normal, math.sqrt(0.5), "choice_noise_scaled")], "choice_erf")
        one = self.constant("one_float", 1.0)
        probability = self.scaled(node("Add", [one, erf], "choice_double"), 0.5, "choice_probability")
        bounds = [
            self.constant("least_probability", LEAST_PROBABILITY),
            self.constant("most_probability", 1.0 - LEAST_PROBABILITY),
        ]
        kept = node("Clip", [probability, *bounds], "choice_kept")
        inside = node("Neg", [node("Log", [kept], "choice_log")], "choice_minus_log")
        noise = node("Neg", [node("Log", [inside], "choice_log_log")], "gumbel")
        return node("Add", [log_weight, noise], "score")

    def _choose(self, score: str, q: str, actions: str, action: str, chosen_q: str) -> None:
        """The candidate of the highest score, and its Q."""
        node = self.node
        best = node("ArgMax", [score], f"{action}_index", axis=1, keepdims=1)  # (B, 1)
        node("GatherND", [actions, best], action, batch_dims=1)
        node("GatherND", [q, best], chosen_q, batch_dims=1)


def _same(a: Any, b: Any) -> bool:
    return a.clip == b.clip and np.array_equal(a.offset, b.offset) and np.array_equal(a.scale, b.scale)


def _tensor(name: str, shape: list[Any], meaning: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, doc_string=meaning)


def skill_sizes(skill: Skill) -> tuple[int, ...]:
    """Widths from observation to action of a skill's actor."""
    if isinstance(skill.actor, EnergyPolicy):
        return sampler_sizes(skill.actor)
    actor: Any = skill.actor
    return (*(layer.in_features for layer in (*actor.hidden, actor.head)), actor.head.out_features // 2)
