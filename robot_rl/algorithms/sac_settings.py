"""Settings of SAC: those of its paper, then those of papers that made it learn from fewer steps.

What a paper calls its method is a few of these settings together; docs/training.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from robot_rl.errors import ConfigurationError
from robot_rl.settings import check

RESETS = ("all", "critics", "actor")
"""What a reset can draw anew."""
OF_ONE_PART = (
    "critics",
    "target_critics",
    "actor_q",
    "actor_delay",
    "critic_hidden_sizes",
    "critic_dropout",
    "batch_renorm_critic",
    "residual",
    "running_normalizer",
    "precision",
    "adam_beta1",
    "weight_decay",
    "reset_interval",
)
"""Settings that only the learner of observations of one part knows."""


@dataclass(frozen=True)
class SACSettings:
    """Settings of SAC; the defaults are the paper's."""

    discount: float = 0.99
    """gamma, weight of the next step's value, in [0, 1)."""
    tau: float = 0.005
    """Share of the critics that moves into the target critics at every update, in (0, 1]."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for log alpha; 0 keeps the temperature fixed."""
    initial_temperature: float = 1.0
    """alpha at the start, > 0, in reward units per nat."""
    target_entropy: float | None = None
    """Least mean entropy of the policy, nats; None means -A, one nat per action entry below the unit cube's."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the ReLU layers, the same in actor and critics; of the blocks, where networks are residual."""
    log_std_min: float = -20.0
    """Least log standard deviation of the pre-tanh action; -5 trains more calmly on robots."""
    log_std_max: float = 2.0
    """Greatest log standard deviation of the pre-tanh action."""
    layer_norm_critic: bool = False
    """Normalise the hidden layers of the critics; steadier with many updates per step."""
    precision: str = "float32"
    """Of the products in the hidden layers: float32, or bfloat16, faster on processors that have instructions for it.
    Weights, losses and the last layers are float32 with either."""
    critics: int = 2
    """N, number of critics (REDQ: 10)."""
    target_critics: int = 2
    """M, size of the random subset of the critics whose least value is in the target (REDQ: 2)."""
    actor_q: str = "minimum"
    """What the actor climbs: the minimum over the critics, or their mean (REDQ, DroQ)."""
    actor_delay: int = 1
    """Updates of the critics for one of actor and temperature (CrossQ: 3; REDQ and DroQ: as many as a step has)."""
    critic_hidden_sizes: tuple[int, ...] | None = None
    """Widths in the critics, where they are not those of the actor."""
    critic_dropout: float = 0.0
    """Probability with which a hidden unit of a critic is left out (DroQ: 0.01, with layer_norm_critic), in [0, 1)."""
    batch_renorm_critic: bool = False
    """Normalise the layers of the critics over the batch, without target critics (CrossQ)."""
    residual: bool = False
    """Residual feed-forward blocks with layer normalisation before them, in actor and critics (SimBa): one block for
    each of the hidden sizes, which are all the same."""
    running_normalizer: bool = False
    """Normalise observations by their running mean and deviation (SimBa), not by the task's typical values."""
    adam_beta1: float = 0.9
    """Adam's decay of the mean gradient, of actor and critics (CrossQ: 0.5), in [0, 1)."""
    weight_decay: float = 0.0
    """Decoupled from the gradient, of actor and critics (SimBa: 0.01)."""
    reset_interval: int = 0
    """Updates between resets, which draw new weights and keep the replay; 0 for none."""
    reset: str = "all"
    """What they draw anew: all, critics, or actor."""
    actor_average: float = 0.0
    """Share of the actor that moves into a running average of it whenever it moves, in [0, 1); the average is then the
    policy that is evaluated and exported, while the actor explores. 0 for none, which makes the actor the policy."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        plain_critic = not (self.batch_renorm_critic or self.residual)
        only_plain = "with batch_renorm_critic or residual"
        critic_sizes = self.critic_hidden_sizes
        check(
            self,
            "SAC",
            discount=(0 <= self.discount < 1, "in [0, 1)"),
            tau=(0 < self.tau <= 1, "in (0, 1]"),
            actor_learning_rate=(self.actor_learning_rate > 0, "positive"),
            critic_learning_rate=(self.critic_learning_rate > 0, "positive"),
            temperature_learning_rate=(self.temperature_learning_rate >= 0, "zero or positive"),
            initial_temperature=(self.initial_temperature > 0, "positive"),
            hidden_sizes=(_are_widths(self.hidden_sizes), "positive widths"),
            log_std_min=(self.log_std_min < self.log_std_max, f"below log_std_max ({self.log_std_max})"),
            precision=(self.precision in ("float32", "bfloat16"), "float32 or bfloat16"),
            critics=(self.critics >= 1, "at least 1"),
            target_critics=(1 <= self.target_critics <= self.critics, f"from 1 to critics ({self.critics})"),
            actor_q=(self.actor_q in ("minimum", "mean"), "minimum or mean"),
            actor_delay=(self.actor_delay >= 1, "at least 1"),
            critic_hidden_sizes=(critic_sizes is None or _are_widths(critic_sizes), "positive widths"),
            critic_dropout=(
                0 <= self.critic_dropout < 1 and (plain_critic or not self.critic_dropout),
                f"in [0, 1), and 0 {only_plain}",
            ),
            layer_norm_critic=(plain_critic or not self.layer_norm_critic, f"false {only_plain}"),
            batch_renorm_critic=(not (self.batch_renorm_critic and self.residual), "false with residual"),
            adam_beta1=(0 <= self.adam_beta1 < 1, "in [0, 1)"),
            weight_decay=(self.weight_decay >= 0, "zero or positive"),
            reset_interval=(self.reset_interval >= 0, "zero or positive"),
            reset=(self.reset in RESETS, ", ".join(RESETS)),
            actor_average=(0 <= self.actor_average < 1, "in [0, 1)"),
        )
        for name in ("hidden_sizes", "critic_hidden_sizes"):
            sizes = getattr(self, name)
            if self.residual and sizes is not None and len(set(sizes)) > 1:
                raise ConfigurationError(f"SAC: {name} must be all the same with residual, got {sizes}")

    @property
    def widths_of_critics(self) -> tuple[int, ...]:
        """Hidden widths of the critics."""
        return self.hidden_sizes if self.critic_hidden_sizes is None else self.critic_hidden_sizes

    def refuse_for_parts(self) -> None:
        """Raises ConfigurationError where a setting differs from its default that is for observations of one part."""
        defaults = {field.name: field.default for field in fields(self)}
        given = [name for name in OF_ONE_PART if getattr(self, name) != defaults[name]]
        if given:
            raise ConfigurationError(
                f"SAC: not for observations of several parts (a camera, what only critics know): {', '.join(given)}"
            )


def _are_widths(sizes: tuple[int, ...]) -> bool:
    return len(sizes) > 0 and all(size > 0 for size in sizes)
