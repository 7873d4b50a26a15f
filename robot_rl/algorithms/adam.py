"""Adam over a list of tensors, for learners that save all they hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Adam:
    """Adam (Kingma and Ba 2015) on parameters that are updated in place.

    The arithmetic is torch's fused kernel. Around it torch.optim.Adam looks through groups and hooks at every step,
    which takes longer than the kernel for networks of this size, and imports the compiler when it is made.

    Attributes:
        tensors: what must be saved to go on as before: "step", "mean/<name>" and "square/<name>".
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Starts with moments of zero; the parameters are contiguous and all float32.

        `weight_decay` is decoupled from the gradient (Loshchilov and Hutter 2019): it shrinks weights, not moments.
        """
        self.parameters: list[Tensor] = list(parameters.values())
        self.learning_rate = learning_rate
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self._step = torch.zeros((), dtype=torch.float32)
        self._means = [torch.zeros_like(parameter.detach()) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter.detach()) for parameter in self.parameters]
        self.tensors: dict[str, Tensor] = {"step": self._step}
        self.tensors |= {f"mean/{name}": mean for name, mean in zip(parameters, self._means, strict=True)}
        self.tensors |= {f"square/{name}": square for name, square in zip(parameters, self._squares, strict=True)}

    def restart(self) -> None:
        """Forgets all steps."""
        for tensor in self.tensors.values():
            tensor.zero_()

    @torch.no_grad()
    def minimize(self, loss: Tensor, greatest_norm: float | None = None) -> None:
        """One step down the gradient of `loss`, for these parameters only; leaves nothing in their `.grad`.

        Args:
            loss: ().
            greatest_norm: to which the gradient is shortened where it is longer; None for no limit.
        """
        gradients = torch.autograd.grad(loss, self.parameters)
        if greatest_norm is not None:
            shorten(gradients, greatest_norm)
        self._step += 1
        # m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        # theta <- (1 - lr wd) theta - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
        if torch.compiler.is_compiling():
            self._written_out(gradients)
            return
        step = torch._fused_adamw_ if self.weight_decay else torch._fused_adam_
        step(
            self.parameters,
            gradients,
            self._means,
            self._squares,
            [],
            [self._step] * len(self.parameters),
            lr=self.learning_rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def _written_out(self, gradients: Sequence[Tensor]) -> None:
        """The same step in plain arithmetic, which a compiler joins with what is before and behind it."""
        (beta1, beta2), t = self.betas, self._step
        size = self.learning_rate / (1.0 - beta1**t)  # ()
        root = (1.0 - beta2**t).sqrt()  # ()
        for theta, g, m, v in zip(self.parameters, gradients, self._means, self._squares, strict=True):
            m.lerp_(g, 1.0 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
            if self.weight_decay:
                theta.mul_(1.0 - self.learning_rate * self.weight_decay)
            theta.sub_(size * m / (v.sqrt() / root + self.eps))


def shorten(gradients: Sequence[Tensor], greatest_norm: float) -> None:
    """Scales gradients in place so that their common Euclidean norm is at most `greatest_norm`."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    torch._foreach_mul_(list(gradients), (greatest_norm / (norm + 1e-6)).clamp(max=1.0))
