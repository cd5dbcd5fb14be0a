"""FedProx (Li et al. 2020): local training that is pulled towards the weights it began with.

The local objective is F(w) + mu/2 * |w - w_global|^2; its second term adds mu * (w - w_global) to every gradient before
the gradients are clipped. Strength and global weights are variables of the optimiser, so that XLA compiles once for all
nodes, rounds and strengths.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any


def proximal_adamw(learning_rate: float, **settings: Any) -> Any:
    """Return a Keras `AdamW` with the proximal term; `hold(mu)` sets mu and where the variables are now as its centre.

    Args:
        learning_rate: of AdamW.
        settings: of AdamW (`weight_decay`, `global_clipnorm`).
    """
    return _kind()(learning_rate, **settings)


@cache
def _kind() -> Any:
    import keras  # noqa: PLC0415

    class ProximalAdamW(keras.optimizers.AdamW):
        """AdamW on the gradients of the proximal objective."""

        def build(self, variables: Sequence[Any]) -> None:
            """Make the moments, the strength and the centre."""
            super().build(variables)
            self._strength = self.add_variable(shape=(), dtype="float32", name="proximal")
            self._centre = [self.add_variable_from_reference(variable, name="centre") for variable in variables]

        def hold(self, strength: float) -> None:
            """Pull with `strength` towards the present values from now on."""
            self._strength.assign(strength)
            for centre, variable in zip(self._centre, self._trainable_variables, strict=True):
                centre.assign(keras.ops.copy(variable))  # a copy: JAX gives each buffer away once

        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
            """Add the pull to the gradients, which stand for all variables in their order, and go on as AdamW."""
            pulled = [
                gradient + self._strength * (variable - centre)
                for gradient, variable, centre in zip(grads, self._trainable_variables, self._centre, strict=True)
            ]
            super().apply(pulled, trainable_variables)

    return ProximalAdamW
