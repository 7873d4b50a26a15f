"""The part of a composed graph that differs for energy-based skills: what `policies.energy_candidates` computes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from policies.actors import SamplerNodes
from policies.energy_candidates import INSIDE
from robot_rl.algorithms.distributions import HALF_LOG_2_PI, LOG_2
from robot_rl.algorithms.soft_value import LEAST_WIDTH, UNIFORM_SHARE

if TYPE_CHECKING:
    from policies.composed_graph import Nodes


def energy_proposals(nodes: Nodes, seen: list[str], noise: str) -> tuple[str, str, str]:
    """Points (B, N P, d) and draws (B, K, d), both before the tanh, and the draws' log density (B, K).

    Args:
        nodes: of the graph; gets `log_slope` too.
        seen: names of the normalised observations of each skill.
        noise: name of the noise of the draws, (B or 1, K, d).
    """
    node, constant = nodes.node, nodes.constant
    energies = nodes.composed.energies
    count, size = energies[0].candidates.shape
    rows = []
    for index, (actor, observation) in enumerate(zip(energies, seen, strict=True)):
        sampler = SamplerNodes(nodes.graph, actor, observation, f"skill_{index}_")
        rows.append(nodes.unsqueeze(sampler.candidates(nodes.axes(1)), 1, f"skill_{index}_particles"))
    particles = node("Concat", rows, "particles", axis=1)  # (B, N, P, d)
    flat = constant("particle_rows", [-1, nodes.skills * count, size], np.int64)
    most = node("ArgMax", ["weights"], "most_weight", axis=0, keepdims=1)  # (1,)
    lent = node("Gather", [particles, most], "lent_particles", axis=1)  # (B, 1, P, d)
    weighted = node("Greater", [nodes.unsqueeze("weight_column", -1, "weight_cube"), constant("none", 0.0)], "weighted")
    points = node("Reshape", [node("Where", [weighted, particles, lent], "used_particles"), flat], "points_u")
    centre, width = _kernels(nodes, particles, flat, count, size)

    shares = nodes.scaled("weight_column", (1.0 - UNIFORM_SHARE) / count, "particle_share")  # (N, 1)
    each = node("Mul", [shares, constant("particle_ones", np.ones((1, count)))], "particle_shares")  # (N, P)
    kernels = node("Reshape", [each, constant("flat", [-1], np.int64)], "kernel_shares")  # (N P,)
    joined = node("Concat", [constant("uniform_share", [UNIFORM_SHARE]), kernels], "shares", axis=0)
    chosen = nodes.strata(joined, 1 + nodes.skills * count)  # (K, 1 + N P)
    u = _draws(nodes, chosen, centre, width, noise)  # (B, K, d)

    slope = nodes.unsqueeze(nodes.log_slope(u), 2, "log_slope_column")  # (B, K, 1)
    uniform = node("Sub", [slope, constant("log_volume", size * LOG_2)], "log_uniform")
    apart = node("Sub", [nodes.unsqueeze(u, 2, "draws_each"), nodes.unsqueeze(centre, 1, "centre_each")], "away")
    each_width = nodes.unsqueeze(width, 1, "width_each")  # (B, 1, N P, d)
    z = node("Div", [apart, each_width], "away_std")  # (B, K, N P, d)
    half = nodes.scaled(node("Mul", [z, z], "away_square"), -0.5, "exponent")
    body = node("Sub", [half, node("Log", [each_width], "log_width")], "log_normal")
    kernel = nodes.sum(node("Sub", [body, constant("half_log_2_pi", HALF_LOG_2_PI)], "log_normal_each"), 3, "log_each")
    components = node("Concat", [uniform, kernel], "log_components", axis=2)  # (B, K, 1 + N P)
    total = node("Add", [components, nodes.log_shares(chosen)], "log_joint")
    return points, u, node("ReduceLogSumExp", [total], "log_density", axes=[2], keepdims=0)


def disagreement_of_energies(nodes: Nodes, log_density: str) -> None:
    """Writes `disagreement` (B,) from `skill_q` (B, N, H + K), `log_slope` and the draws' log density (B, K)."""
    node, constant = nodes.node, nodes.constant
    ends = [constant("draws_start", [nodes.points], np.int64), constant("draws_stop", [2**31 - 1], np.int64)]
    drawn = node("Slice", ["skill_q", *ends, nodes.axes(2)], "skill_q_of_draws")  # (B, N, K)
    nats = nodes.scaled(drawn, 1.0 / nodes.composed.alpha, "skill_nats")
    of_action = node("Sub", [log_density, "log_slope"], "log_density_of_action")  # (B, K)
    row = nodes.unsqueeze(of_action, 1, "log_density_row")  # (B, 1, K)
    each = node("ReduceLogSumExp", [node("Sub", [nats, row], "log_ratio")], "log_z", axes=[2], keepdims=0)  # (B, N)
    product = nodes.sum(node("Mul", ["weight_column", nats], "weighted_nats"), 1, "product_nats")  # (B, K)
    ratio = node("Sub", [product, of_action], "product_log_ratio")
    together = node("ReduceLogSumExp", [ratio], "log_z_product", axes=[1], keepdims=0)  # (B,)
    apart = nodes.sum(node("Mul", ["weights", each], "weighted_log_z"), 1, "log_z_apart")  # (B,)
    node("Sub", [apart, together], "disagreement")


def _kernels(nodes: Nodes, particles: str, flat: str, count: int, size: int) -> tuple[str, str]:
    """Centres and widths of the kernels, (B, N P, d) each."""
    node, constant = nodes.node, nodes.constant
    mean = node("ReduceMean", [particles], "particle_mean", axes=[2], keepdims=1)  # (B, N, 1, d)
    away = node("Sub", [particles, mean], "particle_away")
    square = node("Mul", [away, away], "particle_square")
    std = node("Sqrt", [node("ReduceMean", [square], "particle_variance", axes=[2], keepdims=1)], "particle_std")
    scott = nodes.scaled(std, count ** (-1.0 / (size + 4)), "scott_width")
    width = node("Max", [scott, constant("least_width", LEAST_WIDTH)], "width")  # (B, N, 1, d)
    spread = node("Mul", [width, constant("width_ones", np.ones((count, 1)))], "width_of_each")  # (B, N, P, d)
    return node("Reshape", [particles, flat], "centre"), node("Reshape", [spread, flat], "centre_width")


def _draws(nodes: Nodes, chosen: str, centre: str, width: str, noise: str) -> str:
    """The draws before the tanh, (B, K, d), by component (K, 1 + N P)."""
    node, constant = nodes.node, nodes.constant
    first = [constant("uniform_start", [0], np.int64), constant("uniform_stop", [1], np.int64)]
    rest = ["uniform_stop", constant("kernels_stop", [2**31 - 1], np.int64)]
    is_uniform = node("Slice", [chosen, *first, nodes.axes(1)], "is_uniform")  # (K, 1)
    kernels = node("Slice", [chosen, *rest, nodes.axes(1)], "kernel_chosen")  # (K, N P)
    step = node("Mul", [node("MatMul", [kernels, width], "draw_width"), noise], "step")
    near = node("Add", [node("MatMul", [kernels, centre], "draw_centre"), step], "near")
    erf = node("Erf", [nodes.scaled(noise, math.sqrt(0.5), "uniform_noise")], "uniform_erf")
    inside = node("Clip", [erf, constant("least_inside", -INSIDE), constant("most_inside", INSIDE)], "uniform_action")
    anywhere = node("Atanh", [inside], "anywhere")
    return node("Where", [node("Greater", [is_uniform, "none"], "from_uniform"), anywhere, near], "draws_u")
