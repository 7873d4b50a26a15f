"""Runs the file of a policy that looks at a camera, with NumPy and ONNX Runtime alone.

Its states carry the picture as `RobotState.camera`, (height, width, 3) uint8:

    policy = SeeingPolicy.load("valve.onnx", robot=load_robot("dclaw"))
    runner = SeeingRunner(policy)
    runner.reset(goal)
    command = runner.step(state)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.contract import CameraPart, Contract
from policies.onnx_bytes import only_outputs
from policies.runtime import PolicyFile, PolicyOutput, PolicyRunner, check_golden, check_graph, check_rows, new_session
from robot_rl.errors import InvalidInput, PolicyError
from robot_rl.observation_parts import CAMERA, STATE
from robot_rl.robot import JointCommand, RobotState

Array = NDArray[np.floating]
Picture = NDArray[np.uint8]


class SeeingPolicy(PolicyFile):
    """A policy file with a second input, the camera's picture; checked and ready.

    Attributes:
        contract: what the file says of itself.
        camera: of the pictures that it takes.
    """

    def __init__(self, model: bytes, contract: Contract) -> None:
        """Use `load` or `from_bytes`, which check hashes and what the policy is for.

        Args:
            model: the ONNX model without its metadata.
            contract: about it.

        Raises:
            PolicyError: the policy takes no pictures, or the model does not compute what its contract says.
        """
        if contract.camera is None:
            raise PolicyError("takes no pictures; load it with policies.runtime.OnnxPolicy, or with load_policy")
        self.contract, self.camera = contract, contract.camera
        self._labels = contract.observation.labels
        self._sampling = new_session(model)
        self._session = new_session(only_outputs(model, ("action", "command")))
        actions = len(contract.action.coordinates)
        check_graph(self._sampling, contract, {CAMERA: self.camera.shape[-1]})
        self._noise_names = [f"noise[{name}]" for name in contract.action.coordinates]
        self._actions = actions
        golden: dict[str, Any] = {
            STATE: np.array(contract.golden.observation, dtype=np.float32),
            CAMERA: self.camera.pictures(),
        }
        rows = [{name: part[row] for name, part in golden.items()} for row in range(len(golden[STATE]))]
        sampled = self.act(golden, np.array(contract.golden.noise, dtype=np.float32))
        check_golden(contract, [self.act(row) for row in rows], sampled)

    def act(self, observation: Mapping[str, Any], noise: Array | None = None) -> PolicyOutput:
        """The policy's answer.

        Args:
            observation: `state`, (size,) or (N, size), SI, as `contract.observation` lays it out; and `camera`,
                (height, width, 3) or (N, height, width, 3), uint8, the first row on top.
            noise: standard normal, (d,) or (N, d), for a sampled action; None for the deterministic one.

        Raises:
            InvalidInput: a part is missing or has a wrong shape or type, or a number is not finite; names it.
        """
        if not isinstance(observation, Mapping) or not {STATE, CAMERA} <= set(observation):
            given = ", ".join(observation) if isinstance(observation, Mapping) else type(observation).__name__
            raise InvalidInput(f"observation: expected a mapping of {STATE!r} and {CAMERA!r}, got {given}")
        state = check_rows(observation[STATE], "observation", self._labels)
        picture = check_picture(observation[CAMERA], self.camera, state.shape[:-1])
        feed = {"observation": np.atleast_2d(state), CAMERA: picture.reshape(-1, *self.camera.shape)}
        if noise is None:
            action, command = self._session.run(["action", "command"], feed)
        else:
            draws = check_rows(noise, "noise", self._noise_names)
            if draws.shape[:-1] != state.shape[:-1]:
                raise InvalidInput(f"noise: expected shape {(*state.shape[:-1], self._actions)}, got {draws.shape}")
            feed["noise"] = np.atleast_2d(draws)
            action, command = self._sampling.run(["sampled_action", "sampled_command"], feed)
        return PolicyOutput(action, command) if state.ndim == 2 else PolicyOutput(action[0], command[0])


def check_picture(picture: Any, camera: CameraPart, batch: tuple[int, ...]) -> Picture:
    """A picture, or a batch of them, as it was given.

    Raises:
        InvalidInput: another shape or type.
    """
    shape = (*batch, *camera.shape)
    if not isinstance(picture, np.ndarray) or picture.shape != shape or picture.dtype != np.uint8:
        given = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise InvalidInput(f"camera: expected uint8 {shape} (height, width, red green blue), got {given}")
    return np.ascontiguousarray(picture)


class SeeingRunner(PolicyRunner):
    """Drives one robot with a policy that looks: states with pictures in, joint commands out."""

    policy: SeeingPolicy

    def __init__(self, policy: SeeingPolicy) -> None:
        """Args: policy: to run. Raises PolicyError where it observes something this version does not know."""
        super().__init__(policy)
        self._picture: Picture | None = None

    def step(self, state: RobotState) -> JointCommand:
        """The command for the state of this control tick; call it once per tick.

        Raises:
            InvalidInput: the state has no picture, or one of another size.
        """
        if state.camera is None:
            raise InvalidInput("the policy looks at a camera, and this state has no picture (RobotState.camera)")
        self._picture = check_picture(state.camera, self.policy.camera, ())
        return super().step(state)

    def _decide(self, observation: Array) -> PolicyOutput:
        return self.policy.act({STATE: observation, CAMERA: self._picture})
