"""The pieces of the natural gradient against matrices that are written down in full."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from robot_rl.algorithms.actors import GaussianActor
from robot_rl.algorithms.distributions import gaussian_kl
from robot_rl.algorithms.kronecker import KroneckerFactors, damped, joined, second_moment, separated, solve, traced
from robot_rl.algorithms.natural_gradient import (
    assign,
    backtrack,
    conjugate_gradients,
    fisher_vector_product,
    flatten,
    step_to_limit,
)
from robot_rl.algorithms.state_value import StateValue


def small_actor(seed: int = 0) -> tuple[GaussianActor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    actor = GaussianActor(3, 2, (5,), -0.3, generator).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return actor, torch.randn(40, 3, generator=generator, dtype=torch.float64)


def explicit_fisher(actor: GaussianActor, observation: torch.Tensor) -> torch.Tensor:
    """E[J' M J]: J the Jacobian of (mean, log std), M = diag(1 / std^2, 2) the Fisher matrix of one Gaussian."""
    parameters = list(actor.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), sum(p.numel() for p in parameters), dtype=torch.float64)
    for row in observation:
        mean, log_std = actor(row[None])
        outputs = torch.cat([mean[0], log_std[0]])
        jacobian = torch.stack(
            [flatten(torch.autograd.grad(o, parameters, retain_graph=True, materialize_grads=True)) for o in outputs]
        )
        metric = torch.cat([torch.exp(-2 * log_std[0]), torch.full_like(log_std[0], 2.0)]).detach()
        total += jacobian.T @ (metric[:, None] * jacobian)
    return total / len(observation)


def kl_to_itself(actor: GaussianActor, observation: torch.Tensor) -> torch.Tensor:
    mean, log_std = actor(observation)
    return gaussian_kl(mean.detach(), log_std.detach(), mean, log_std).mean()


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_fisher_vector_products_are_those_of_the_explicit_fisher_matrix(damping: float):
    actor, observation = small_actor()
    fisher = explicit_fisher(actor, observation)
    parameters = list(actor.parameters())
    product = fisher_vector_product(kl_to_itself(actor, observation), parameters, damping)
    found = torch.stack([product(unit) for unit in torch.eye(len(fisher), dtype=torch.float64)])
    torch.testing.assert_close(found, fisher + damping * torch.eye(len(fisher), dtype=torch.float64))
    assert fisher.abs().max() > 0.1


def test_the_quadratic_form_of_the_fisher_matrix_is_twice_the_kl_of_a_small_step():
    actor, observation = small_actor()
    parameters = list(actor.parameters())
    product = fisher_vector_product(kl_to_itself(actor, observation), parameters)
    start = flatten(parameters).detach()
    step = 1e-4 * torch.randn(len(start), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = 0.5 * step @ product(step)
    mean, log_std = (x.detach().clone() for x in actor(observation))
    assign(parameters, start + step)
    with torch.no_grad():
        kl = gaussian_kl(mean, log_std, *actor(observation)).mean()
    assert kl.item() == pytest.approx(expected.item(), rel=1e-3)


def positive_definite(size: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + 0.5 * torch.eye(size, dtype=torch.float64)


def test_conjugate_gradients_solve_what_a_direct_solver_solves():
    matrix = positive_definite(12)
    b = torch.linspace(-1, 2, 12, dtype=torch.float64)
    x = conjugate_gradients(lambda v: matrix @ v, b, iterations=30, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b))


def test_conjugate_gradients_are_exact_after_as_many_iterations_as_there_are_eigenvalues():
    q, _ = torch.linalg.qr(positive_definite(9, seed=3))
    matrix = q @ torch.diag(torch.tensor([1.0, 2.0, 7.0] * 3, dtype=torch.float64)) @ q.T
    b = torch.arange(1.0, 10.0, dtype=torch.float64)
    errors = [
        (matrix @ conjugate_gradients(lambda v: matrix @ v, b, n, tolerance=0.0) - b).norm().item() for n in (2, 3)
    ]
    assert errors[0] > 0.1
    assert errors[1] < 1e-10


def test_conjugate_gradients_of_nothing_are_nothing():
    assert not conjugate_gradients(lambda v: v, torch.zeros(4), 10).any()


def test_the_step_to_the_limit_has_that_kl_as_a_quadratic_form():
    matrix = positive_definite(6)
    direction = torch.ones(6, dtype=torch.float64)
    step = step_to_limit(direction, matrix @ direction, 0.01)
    assert (0.5 * step @ matrix @ step).item() == pytest.approx(0.01)
    assert not step_to_limit(torch.zeros(6), torch.zeros(6), 0.01).any()


def test_backtracking_takes_the_longest_of_its_steps_that_improves_and_keeps_to_the_limit():
    tried = []

    def evaluate(fraction: float) -> tuple[float, float]:
        tried.append(fraction)
        return 1.0 - 2.0 * fraction, 0.02 * fraction  # improves below 1/2, near enough below 0.3

    accepted = backtrack(evaluate, limit=0.006, shrink=0.5, attempts=10)
    assert tried == [1.0, 0.5, 0.25]
    assert (accepted.fraction, accepted.improvement, accepted.kl) == (0.25, 0.5, 0.005)


@pytest.mark.parametrize("bad", [(-1.0, 0.0), (1.0, 1.0), (math.nan, 0.0), (1.0, math.nan)])
def test_backtracking_gives_up_after_its_attempts(bad: tuple[float, float]):
    assert backtrack(lambda fraction: bad, limit=0.01, shrink=0.8, attempts=3).fraction == 0.0


def test_the_natural_step_is_the_same_policy_change_in_other_parameters():
    # A linear policy, mean = s' theta, once by theta and once by phi with theta = B phi. The natural step moves the
    # mean alike; the plain gradient step does not.
    rng = torch.Generator().manual_seed(5)
    states = torch.randn(200, 3, generator=rng, dtype=torch.float64)
    slope = torch.randn(200, generator=rng, dtype=torch.float64)
    mixing = positive_definite(3, seed=7) + torch.diag(torch.tensor([0.0, 3.0, 9.0], dtype=torch.float64))
    theta = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)

    def changes(through: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parameter = torch.linalg.solve(through, theta).requires_grad_()
        mean = (states @ through @ parameter)[:, None]
        zeros = torch.zeros_like(mean)
        gradient = flatten(torch.autograd.grad((mean[:, 0] * slope).mean(), [parameter], retain_graph=True))
        product = fisher_vector_product(gaussian_kl(mean.detach(), zeros, mean, zeros).mean(), [parameter])
        direction = conjugate_gradients(product, gradient, 20, 1e-24)
        natural = step_to_limit(direction, product(direction), 0.01)
        plain = gradient * natural.norm() / gradient.norm()
        return states @ through @ natural, states @ through @ plain

    natural, plain = changes(torch.eye(3, dtype=torch.float64))
    natural_too, plain_too = changes(mixing)
    torch.testing.assert_close(natural, natural_too)
    assert (plain - plain_too).abs().max() > 0.1 * plain.abs().max()


# -- Kronecker factors -------------------------------------------------------------------------------------------------


def test_kronecker_factors_are_the_fisher_block_where_inputs_and_gradients_are_independent():
    # Every input meets every gradient once, so the two are independent, exactly.
    rng = np.random.default_rng(0)
    a = rng.standard_normal((7, 4)) @ np.diag([1.0, 2.0, 0.5, 1.0]) + 0.3
    g = rng.standard_normal((6, 3)) @ np.diag([1.0, 0.3, 2.0])
    inputs, gradients = np.repeat(a, 6, axis=0), np.tile(g, (7, 1))
    rows = np.einsum("bj,bi->bji", gradients, inputs).reshape(42, 12)  # vec(dW), row by row
    fisher = rows.T @ rows / 42
    moments = [second_moment(torch.from_numpy(x)).numpy() for x in (gradients, inputs)]
    np.testing.assert_allclose(np.kron(*moments), fisher, atol=1e-12)
    # And so the preconditioned gradient is F^-1 g, which nobody needs F for.
    gradient = rng.standard_normal((3, 4))
    found = solve(*(torch.from_numpy(x) for x in (moments[1], moments[0], gradient))).numpy()
    np.testing.assert_allclose(found.ravel(), np.linalg.solve(fisher, gradient.ravel()), rtol=1e-8)


def test_damped_factors_stand_for_a_damped_block():
    # (A + pi sqrt(l)) (x) (S + sqrt(l) / pi) = A (x) S + l I + terms between them, for any pi.
    a, s = positive_definite(3), 0.01 * positive_definite(2, seed=4)
    raised_a, raised_s = (after - before for after, before in zip(damped(a, s, 0.25), (a, s), strict=True))
    torch.testing.assert_close(torch.kron(raised_a, raised_s), 0.25 * torch.eye(6, dtype=torch.float64))
    # pi balances them: relative to its own factor, each is raised alike.
    assert (raised_a.trace() / a.trace()).item() == pytest.approx((raised_s.trace() / s.trace()).item())


def test_factors_of_a_network_give_the_exact_natural_gradient_where_the_network_is_one_linear_layer():
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(3, 1)
    network = type("Linear", (), {"hidden": [], "head": layer})()
    x = torch.randn(5000, 3, generator=generator)
    inputs, outputs = traced(network, x)
    noise = torch.randn(5000, 1, generator=generator)
    factors = KroneckerFactors(network, decay=0.0, damping=1e-8)
    factors.observe(inputs, torch.autograd.grad((outputs[0] * noise).sum(), outputs))
    gradient = [torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([0.7])]
    found = joined(factors.precondition(gradient))[0]
    # Of a Gaussian with variance one the Fisher matrix is E[a a'].
    ones = torch.cat([x, torch.ones(5000, 1)], dim=1)
    expected = torch.linalg.solve(ones.T @ ones / 5000, joined(gradient)[0].T).T
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
    # d' F d = d' g for d = F^-1 g.
    step = separated([found])
    slope = sum(float((d * g).sum()) for d, g in zip(step, gradient, strict=True))
    assert factors.curvature(step) == pytest.approx(slope, rel=1e-4)


def test_what_is_joined_comes_apart_again():
    gradients = [torch.randn(3, 4), torch.randn(3), torch.randn(2, 3), torch.randn(2)]
    for one, other in zip(separated(joined(gradients)), gradients, strict=True):
        assert torch.equal(one, other)


def test_what_was_traced_is_what_the_network_computes():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=generator)
    actor, value = GaussianActor(3, 2, (5, 4), 0.0, generator), StateValue(3, (5, 4), generator)
    inputs, outputs = traced(actor, x)
    torch.testing.assert_close(outputs[-1], actor(x)[0])
    torch.testing.assert_close(traced(value, x)[1][-1][:, 0], value.in_units(x))
    assert [rows.shape[1] for rows in inputs] == [4, 6, 5]
    assert all((rows[:, -1] == 1).all() for rows in inputs)


def test_factors_are_plain_means_at_first_and_forget_later():
    network = type("Linear", (), {"hidden": [], "head": nn.Linear(1, 1)})()
    factors = KroneckerFactors(network, decay=0.75, damping=0.01)
    seen = []
    for value in (1.0, 3.0, 5.0, 7.0, 9.0, 11.0):
        rows = torch.full((2, 1), value)
        factors.observe([torch.cat([rows, torch.ones(2, 1)], dim=1)], [rows])
        seen.append(factors.tensors["gradients/0"].item())
    assert seen[:4] == pytest.approx([1.0, 5.0, 35 / 3, 21.0])  # means of 1, 9, 25, 49
    assert seen[4] == pytest.approx(0.75 * 21.0 + 0.25 * 81.0)
    assert seen[5] == pytest.approx(0.75 * seen[4] + 0.25 * 121.0)
