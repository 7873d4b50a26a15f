"""Fits an actuator network to joint logs by least squares on the torque."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from robot_rl.actuator_network import ActuatorNetwork, features, ideal_torque
from robot_rl.errors import ConfigurationError
from robot_rl.joint_log import JointLog
from robot_rl.spec import RobotSpec

HELD_OUT = 0.2
"""Share of each log, at its end, that is only measured on."""
_BATCH = 1024


def fit_actuator_network(
    spec: RobotSpec,
    logs: Sequence[JointLog],
    history: int = 3,
    hidden: Sequence[int] = (32, 32),
    steps: int = 3000,
    seed: int = 0,
) -> ActuatorNetwork:
    """Learns what the joint controller's law leaves of the measured torque.

    Args:
        spec: the robot.
        logs: of one interval.
        history: H, samples that the network looks at.
        hidden: sizes of its layers.
        steps: of Adam.
        seed: of the weights and batches.

    Returns:
        The network; its `fit` has the RMS error in N m on what was held out, with and without it.

    Raises:
        ConfigurationError: no log, different intervals, or too few samples.
    """
    if not logs or len({round(log.interval, 9) for log in logs}) != 1:
        raise ConfigurationError("an actuator network is fitted to one or more logs of the same interval")
    train, test = zip(*(_samples(log, spec, history) for log in logs), strict=True)
    inputs, rest = (np.concatenate([part[i] for part in train]) for i in range(2))
    if len(inputs) < 1000:
        raise ConfigurationError(f"an actuator network needs at least 1000 samples, the logs have {len(inputs)}")
    torch.manual_seed(seed)
    sizes = [2 * history, *hidden, 1]
    layers: list[torch.nn.Module] = []
    for one, other in pairwise(sizes):
        layers += [torch.nn.Linear(one, other), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    x, y = torch.from_numpy(inputs).float(), torch.from_numpy(rest).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (_BATCH,), generator=generator)
        loss = torch.nn.functional.mse_loss(network(x[rows])[:, 0], y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    found = ActuatorNetwork(
        spec.name,
        spec.joint_names,
        logs[0].interval,
        history,
        np.array(spec.kp),
        np.array(spec.kd),
        np.array(spec.effort_limit),
        np.array(spec.velocity_limit),
        tuple(layer.weight.detach().double().numpy().T.copy() for layer in linear),
        tuple(layer.bias.detach().double().numpy().copy() for layer in linear),
        {},
    )
    errors = [part[2] for part in test]  # N m, of the law alone
    left = [part[2] - part[3] * found.rest(part[0])[..., 0] for part in test]
    fit = {
        "samples": len(inputs),
        "held_out_rms_N_m": _rms(left),
        "held_out_rms_without_network_N_m": _rms(errors),
        "seed": seed,
        "steps": steps,
    }
    return ActuatorNetwork(**{**vars(found), "fit": fit})


def _samples(log: JointLog, spec: RobotSpec, history: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """(inputs (S, 2 H), rest (S,), rest in N m (S,), limit (S,)) to train on and to measure on."""
    count = len(log.command) - history + 1
    if count < 10:
        raise ConfigurationError(f"a joint log of {len(log.command)} samples is too short")
    error = log.command - log.position
    windows = [np.stack([array[k : k + count] for k in range(history)]) for array in (error, log.velocity)]
    inputs = features(windows[0], windows[1], spec)  # (T, n, 2 H)
    law = ideal_torque(error[history - 1 :], log.velocity[history - 1 :], spec)
    missing = log.effort[history - 1 :] - law
    cut = round((1.0 - HELD_OUT) * count)

    def flat(rows: slice) -> tuple[np.ndarray, ...]:
        limit = np.broadcast_to(spec.effort_limit, missing[rows].shape)
        return (
            inputs[rows].reshape(-1, 2 * history),
            (missing[rows] / limit).ravel(),
            missing[rows].ravel(),
            limit.ravel(),
        )

    return flat(slice(0, cut)), flat(slice(cut, None))


def _rms(parts: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate(parts)))))
