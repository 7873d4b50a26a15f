"""The soft value by importance sampling, against quadrature and a mixture written out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robot_rl.algorithms.soft_value import particle_proposal, soft_value, uniform_count, uniform_proposal
from robot_rl.errors import InvalidInput

ALPHA = 0.5


def q_of(a: Tensor) -> Tensor:
    """Two peaks of different height in the square."""
    left = 1.5 - 4.0 * (a - torch.tensor([-0.7, 0.2])).square().sum(-1)
    right = 2.0 - 6.0 * (a - torch.tensor([0.6, -0.4])).square().sum(-1)
    return torch.maximum(left, right)


def exact_integral() -> float:
    """The integral of exp(Q / alpha) over the square."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    a = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1))
    return float(np.outer(weights, weights).ravel() @ np.exp(q_of(a).numpy().ravel() / ALPHA))


PARTICLES = {
    "near the peaks": torch.atanh(torch.tensor([[-0.7, 0.2], [-0.6, 0.1], [0.6, -0.4], [0.5, -0.5], [0.7, -0.3]])),
    "in a heap elsewhere": torch.full((5, 2), 1.2),
    "at the bound": torch.tensor([[9.0, -9.0]] * 5),
}


def proposals(name: str, states: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if name == "uniform":
        return uniform_proposal(states, 8, 2, generator)
    return particle_proposal(PARTICLES[name].expand(states, -1, -1), 3, generator)


@pytest.mark.parametrize("name", ["uniform", *PARTICLES])
def test_the_mean_under_the_logarithm_is_unbiased_for_any_proposal(name: str):
    # exp(V / alpha) of one state, averaged over 40,000 estimates from 8 actions each.
    a, log_proposal = proposals(name, 40_000, torch.Generator().manual_seed(0))
    assert a.shape == (40_000, 8, 2)
    estimates = torch.exp(soft_value(q_of(a), log_proposal, ALPHA) / ALPHA).double()
    error = estimates.std() / 200
    assert abs(estimates.mean() - exact_integral()) < 4 * error
    assert error < 0.05 * exact_integral()


def test_draws_near_the_peaks_estimate_better_than_uniform_ones():
    truth = ALPHA * math.log(exact_integral())
    errors = {}
    for name in ("uniform", "near the peaks"):
        a, log_proposal = proposals(name, 4000, torch.Generator().manual_seed(1))
        errors[name] = (soft_value(q_of(a), log_proposal, ALPHA) - truth).square().mean().sqrt().item()
    assert errors["near the peaks"] < 0.7 * errors["uniform"]


def test_with_many_actions_the_estimate_is_the_integral():
    truth = ALPHA * math.log(exact_integral())
    generator = torch.Generator().manual_seed(2)
    a, log_proposal = uniform_proposal(1, 200_000, 2, generator)
    assert soft_value(q_of(a), log_proposal, ALPHA).item() == pytest.approx(truth, abs=0.01)


def test_a_constant_q_has_the_entropy_of_the_box_on_top():
    a, log_proposal = uniform_proposal(3, 4, 5, torch.Generator().manual_seed(0))
    # V = Q + alpha A log 2
    value = soft_value(torch.full((3, 4), 7.0), log_proposal, 0.3)
    assert value.tolist() == pytest.approx([7 + 0.3 * 5 * math.log(2)] * 3)
    assert a.min() >= -1
    assert a.max() <= 1


def test_the_density_of_the_particles_proposal_is_the_mixture_written_out():
    particles = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    a, log_proposal = particle_proposal(particles, 2, torch.Generator().manual_seed(1))
    for state in range(2):
        centres = particles[state].double().numpy()
        width = centres.std(axis=0) * 6 ** (-1 / 7)
        for action, ours in zip(a[state].double().numpy(), log_proposal[state].tolist(), strict=True):
            u = np.arctanh(action)
            normals = np.exp(-0.5 * (((u - centres) / width) ** 2).sum(1)) / np.prod(width * math.sqrt(2 * math.pi))
            density = (2 / 2**3 + normals.sum() / np.prod(1 - action**2)) / 8
            assert ours == pytest.approx(math.log(density), abs=1e-3)


def test_a_quarter_of_the_actions_is_uniform_and_never_none():
    assert [uniform_count(n) for n in (2, 8, 32)] == [1, 2, 8]
    one = particle_proposal(torch.zeros(1, 1, 2), 1, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(part).all() for part in one)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match=r"\(3, 4\).*\(3, 5\)"):
        soft_value(torch.zeros(3, 4), torch.zeros(3, 5), 1.0)
    with pytest.raises(InvalidInput, match="positive"):
        soft_value(torch.zeros(3, 4), torch.zeros(3, 4), 0.0)
