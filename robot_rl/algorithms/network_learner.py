"""What every learner made of networks needs: normalised observations, its own random numbers, and its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.errors import ConfigurationError, InvalidInput
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.state import State, copy_into


def own_tensor(array: np.ndarray) -> Tensor:
    """A copy, so that matrix products see the same memory alignment in every process and so the same bits."""
    return torch.from_numpy(array).clone(memory_format=torch.contiguous_format)


class NetworkLearner(ABC):
    """Base of the learners; a subclass adds networks, `actor`, `act` and `update`, see `Learner`.

    Attributes:
        name: of the algorithm, by which a saved state is known.
        average_actor: that follows the actor, where a learner keeps one.
    """

    name: ClassVar[str]
    actor: Any
    average_actor: nn.Module | None = None

    def __init__(self, observation_size: int, action_size: int, seed: int, normalizer: Normalizer | None) -> None:
        """Args: see the subclass.

        Raises:
            ConfigurationError: the normaliser is for observations of another size.
        """
        self.observation_size = observation_size
        self.action_size = action_size
        self.normalizer = normalizer or Normalizer.identity(observation_size)
        if self.normalizer.size != observation_size:
            raise ConfigurationError(
                f"{type(self).__name__}: the normaliser is for {self.normalizer.size} observations, the environment "
                f"has {observation_size}"
            )
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def policy(self) -> nn.Module:
        """See `Learner.policy`."""
        return self.actor if self.average_actor is None else self.average_actor

    @abstractmethod
    def _modules(self) -> dict[str, nn.Module]:
        """The networks that training changes, by name."""

    @abstractmethod
    def _adams(self) -> dict[str, Adam]:
        """The optimisers, by name."""

    def _single_tensors(self) -> dict[str, Tensor]:
        """What is in no network and must be saved too, by name."""
        return {}

    def _checked(self, observation: np.ndarray) -> np.ndarray:
        """The observation as float32; raises InvalidInput where it has another size."""
        observation = np.asarray(observation, dtype=np.float32)
        if observation.shape[-1:] != (self.observation_size,):
            raise InvalidInput(
                f"observation has shape {observation.shape}, the policy takes (..., {self.observation_size})"
            )
        return observation

    def _normalized(self, observation: np.ndarray) -> Tensor:
        if self.normalizer.is_identity:
            return own_tensor(observation)
        return torch.from_numpy(self.normalizer(observation))

    def _named_tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: weights, then Adam's moments and step counts."""
        named = self._single_tensors()
        for name, module in self._modules().items():
            named.update({f"{name}/{key}": tensor for key, tensor in module.named_parameters()})
        for name, adam in self._adams().items():
            named.update({f"adam/{name}/{key}": tensor for key, tensor in adam.tensors.items()})
        return named

    def state(self) -> State:
        """See `Learner.state`."""
        own = State(tensors={name: tensor.detach().clone() for name, tensor in self._named_tensors().items()})
        own.tensors["generator"] = self._generator.get_state()
        own.values["algorithm"] = self.name
        return State.join({self.name: own, "normalizer": self.normalizer.state()})

    def load_state(self, state: State) -> None:
        """See `Learner.load_state`."""
        own, named = state.part(self.name), self._named_tensors()
        # One that kept no average, of a run that another one begins with, gives its actor.
        averages = {name: name.removeprefix("average_") for name in named if name.startswith("average_actor/")}
        actor = {name: own.tensors[of] for name, of in averages.items() if of in own.tensors}
        copy_into(named, {**actor, **own.tensors}, type(self).__name__)
        self._generator.set_state(own.tensors["generator"])
        self.normalizer.load_state(state.part("normalizer"))

    def begin_with(self, state: State) -> None:
        """See `Learner.begin_with`."""
        generator = self._generator.get_state()
        self.load_state(state)
        self._generator.set_state(generator)
