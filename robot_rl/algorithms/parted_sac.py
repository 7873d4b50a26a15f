"""Soft actor-critic where actor and critics do not observe the same: pictures, and what only a simulation knows.

    privileged   camera   the actor gets              the critics get          the encoder learns from
    no           yes      features of the picture,    the same                 the critics' loss
                          state
    yes          no       state                       state, privileged        -
    yes          yes      features, state             state, privileged        the actor's loss

The losses are those of `robot_rl.algorithms.sac`. Where critics look at pictures, actor and critics share one encoder
that the actor's loss leaves alone, as in Yarats et al. 2019 (arXiv 1910.01741): two losses that pull at one encoder
spoil it. Where critics know the state better than any picture tells (Pinto et al. 2017, arXiv 1710.06542), they need
no encoder, and the actor has its own.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.distributions import sample_with_log_prob
from robot_rl.algorithms.encoder import Encoder, EncoderSettings, SeeingActor, shifted
from robot_rl.algorithms.networks import Actor, Critics, move_targets
from robot_rl.algorithms.replay_learner import ReplayLearner, Tensors
from robot_rl.algorithms.sac import SACSettings, actor_loss, critic_loss, critic_target, temperature_loss
from robot_rl.errors import InvalidInput
from robot_rl.observation_parts import ObservationParts
from robot_rl.training.normalizer import Normalizer


class PartedSAC(ReplayLearner):
    """The learner; observations are rows of parts, see `ObservationParts`.

    Attributes:
        parts: what a row is made of; `act` takes rows with and without the privileged part.
    """

    name = "sac"

    def __init__(
        self,
        parts: ObservationParts,
        action_size: int,
        settings: SACSettings | None = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
        encoder: EncoderSettings | None = None,
    ) -> None:
        """Makes a learner whose weights and later noise depend on `seed` alone.

        Args:
            parts: of an observation.
            action_size: number of entries A of an action.
            settings: see `SACSettings`.
            seed: of the generator that the learner keeps.
            normalizer: of whole rows; None leaves them as they are.
            encoder: of pictures, where there are any.

        Raises:
            ConfigurationError: the normaliser is for rows of another size, the encoder does not suit the picture, or
                a setting is for observations of one part.
        """
        super().__init__(parts.size, action_size, seed, normalizer)
        self.parts = parts
        self.settings = settings = settings or SACSettings()
        settings.refuse_for_parts()
        self.encoder_settings = encoder or EncoderSettings()
        self.target_entropy = -float(action_size) if settings.target_entropy is None else settings.target_entropy
        self._shared = parts.camera is not None and not parts.privileged
        self._pixels = slice(parts.state, parts.seen)

        bounds, hidden = (settings.log_std_min, settings.log_std_max), settings.hidden_sizes
        self.encoder: Encoder | None = None  # that the critics share
        self._moved: nn.Module  # the part of the actor that its loss changes
        if parts.camera is None:
            self._moved = actor = Actor(parts.state, action_size, hidden, bounds, self._generator)
            self.actor: nn.Module = actor
        else:
            eyes = Encoder(parts.camera, self.encoder_settings, self._generator)
            seeing = SeeingActor(eyes, parts.state, action_size, hidden, bounds, self._generator)
            self.actor, self.encoder = seeing, eyes if self._shared else None
            self._moved = seeing.policy if self._shared else seeing
        if settings.actor_average > 0:
            self.average_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self._averaged = list(self.actor.parameters())
        self._averages = [] if self.average_actor is None else list(self.average_actor.parameters())
        known = parts.state + (self.encoder_settings.features if self._shared else parts.privileged)
        self.critics = Critics(2, known, action_size, hidden, settings.layer_norm_critic, self._generator)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        critic_weights = dict(self.critics.named_parameters())
        self._targets, self._sources = list(self.target_critics.parameters()), list(self.critics.parameters())
        self.target_encoder: Encoder | None = None
        if self.encoder is not None:
            self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
            critic_weights |= {f"encoder/{name}": weight for name, weight in self.encoder.named_parameters()}
            self._targets += list(self.target_encoder.parameters())
            self._sources += list(self.encoder.parameters())
        self.log_alpha = nn.Parameter(torch.tensor(settings.initial_temperature).log())
        self._actor_adam = Adam(dict(self._moved.named_parameters()), settings.actor_learning_rate)
        self._critic_adam = Adam(critic_weights, settings.critic_learning_rate)
        self._temperature_adam = Adam({"log_alpha": self.log_alpha}, settings.temperature_learning_rate)

    @property
    def alpha(self) -> float:
        """The temperature, reward units per nat."""
        return float(self.log_alpha.detach().exp())

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """See `Learner.act`; rows may end before the privileged part."""
        row = np.asarray(observation, dtype=np.float32)
        if row.shape[-1:] not in ((self.parts.size,), (self.parts.seen,)):
            allowed = " or ".join(f"(..., {size})" for size in dict.fromkeys((self.parts.seen, self.parts.size)))
            raise InvalidInput(f"observation has shape {row.shape}, the policy takes {allowed}")
        with torch.inference_mode():
            actor = self.policy if deterministic else self.actor
            seen = self.normalizer.beginning(row[..., : self.parts.seen])
            mean, log_std = actor(torch.from_numpy(seen))
            if not deterministic:
                mean = mean + log_std.exp() * torch.randn(mean.shape, generator=self._generator)
            return torch.tanh(mean).numpy()

    def _draw(self, size: int) -> Tensor:
        """Noise of the policy at s' and at s, (2, B, A)."""
        return torch.randn(2, size, self.action_size, generator=self._generator)

    def _step(self, batch: Tensors, draws: Tensor, moves_actor: bool, metrics: bool) -> dict[str, Tensor]:
        row, action, reward, next_row, terminated = batch  # rows (B, size)
        alpha = self.log_alpha.detach().exp()  # ()

        with torch.no_grad():
            next_mean, next_log_std = self.actor(next_row[:, : self.parts.seen])
            next_action, next_log_prob = sample_with_log_prob(next_mean, next_log_std, draws[0])  # (B, A), (B,)
            next_q = self.target_critics(self._known(next_row, self.target_encoder), next_action)  # (2, B)
            y = critic_target(reward, terminated, next_q, next_log_prob, alpha, self.settings.discount)  # (B,)
        known = self._known(row, self.encoder)  # (B, K)
        q = self.critics(known, action)  # (2, B)
        loss_q = critic_loss(q, y)
        self._critic_adam.minimize(loss_q)

        known = known.detach()
        # Where they share the encoder, features and state are what the actor gets too; the step that the critics just
        # made has moved the encoder, but by no more than a step.
        mean, log_std = self._moved(known if self._shared else row[:, : self.parts.seen])
        new_action, log_prob = sample_with_log_prob(mean, log_std, draws[1])  # (B, A), (B,)
        new_q = self.critics.climbed(known, new_action)  # (2, B)
        loss_pi = actor_loss(log_prob, new_q, alpha)
        self._actor_adam.minimize(loss_pi)

        loss_alpha = temperature_loss(self.log_alpha, log_prob, self.target_entropy)
        if self.settings.temperature_learning_rate > 0:
            self._temperature_adam.minimize(loss_alpha)

        move_targets(self._targets, self._sources, self.settings.tau)
        if self.average_actor is not None:  # with the encoder, which the critics' loss may have moved
            move_targets(self._averages, self._averaged, self.settings.actor_average)

        if not metrics:
            return {}
        found = {
            "critic_loss": loss_q,
            "actor_loss": loss_pi,
            "temperature_loss": loss_alpha,
            "alpha": self.log_alpha.exp(),
            "entropy": -log_prob.mean(),
            "q": q.mean(),
            "q_gap": (q[0] - q[1]).abs().mean(),
        }
        return {name: value.detach() for name, value in found.items()}

    def _prepared(self, observation: np.ndarray) -> Tensor:
        """Normalised, pictures shifted, (B, size)."""
        row = self._normalized(observation)
        if self.parts.camera and self.encoder_settings.shift:
            most = self.encoder_settings.shift
            row[:, self._pixels] = shifted(row[:, self._pixels], self.parts.camera, most, self._generator)
        return row

    def _known(self, row: Tensor, encoder: Encoder | None) -> Tensor:
        """What the critics get, (B, K)."""
        state = row[:, : self.parts.state]
        if encoder is not None:
            return torch.cat([encoder(row[:, self._pixels]), state], dim=1)
        return torch.cat([state, row[:, self.parts.seen :]], dim=1)

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"actor": self.actor, "critics": self.critics, "target_critics": self.target_critics}
        others = {"target_encoder": self.target_encoder, "average_actor": self.average_actor}
        return modules | {name: module for name, module in others.items() if module is not None}

    def _adams(self) -> dict[str, Adam]:
        return {"actor": self._actor_adam, "critics": self._critic_adam, "temperature": self._temperature_adam}

    def _single_tensors(self) -> dict[str, Tensor]:
        return {"log_alpha": self.log_alpha}
