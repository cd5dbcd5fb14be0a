"""Chance that nobody outside a node can repeat: noise and sampling of private training, from AES-256-CTR.

The key comes from the operating system when a training begins and is written nowhere. A run's public seed decides
nothing here: whoever could repeat the noise could subtract it, and amplification by sampling holds for secret samples
only.
"""

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

KEY_BYTES = 32
_FRACTION_BITS = 53


class SecretDraws:
    """A stream of draws under a fresh key; not for sharing between threads."""

    def __init__(self) -> None:
        self._stream = Cipher(AES(secrets.token_bytes(KEY_BYTES)), CTR(bytes(16))).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return `count` numbers in (0, 1], float64, in steps of 2^-53."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), "<u8") >> np.uint64(64 - _FRACTION_BITS)
        return np.ldexp(words.astype(np.float64) + 1.0, -_FRACTION_BITS)

    def normal(self, count: int) -> NDArray[np.float32]:
        """Return `count` draws of the standard normal distribution (Box and Muller 1958), float32.

        The largest possible magnitude is sqrt(2 * 53 * ln 2) = 8.6; rounding to float32 is not hidden (Mironov 2012),
        which a reader of the exact bits of one node's update could use; combining several nodes' updates blurs it.
        """
        half = (count + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half))).astype(np.float32)
        angle = (2.0 * np.pi * self.uniform(half)).astype(np.float32)  # float32 sines take a fifth of the time
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def generator(self) -> np.random.Generator:
        """Return a NumPy generator with 256 secret bits of seed, for augmentation."""
        return np.random.default_rng(np.frombuffer(self._stream.update(bytes(32)), "<u4").tolist())
