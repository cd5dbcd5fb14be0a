"""What a network is fed: pictures, or the maps that its frozen trunk makes of them, which are kept between rounds.

Arrays of pictures are uint8 [n, s, s, 3], preprocessed. A trunk's maps of one picture never change, so they are worked
out once and kept as float16, by the hash of the picture.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.imaging.preprocess import DEFAULT, normalise
from core.imaging.squares import Squares
from core.learning.architectures import Trunk
from core.learning.augment import CHANGES, augmented, recolour
from core.learning.training_options import TrainingOptions
from core.learning.trunk_runner import runner
from core.studies import Preprocessing, Subject

Images = NDArray[np.uint8]
Maps = tuple[NDArray[np.float16], ...]
"""A trunk's maps [h, w, c] of one picture."""
Batch = list[NDArray[np.float32]]
"""The network's inputs, each [n, ...]."""

CACHE_BYTES = 1 << 30
"""Of a trunk's maps: 55,000 pictures at 224 px cut after block 14, 8,000 after the top layer."""
TRUNK_BATCH = 32


class Draw(Protocol):
    """The pictures of one training, from which batches are drawn."""

    def batch(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        """Return the inputs for the pictures at these positions, changed by chance where the options ask for it."""
        ...


class Inputs(Protocol):
    """Feeds one network."""

    def plain(self, images: Images) -> Batch:
        """Return the inputs for unchanged pictures, as in serving."""
        ...

    def drawing(self, images: Squares, options: TrainingOptions) -> Draw:
        """Return what a training on these pictures draws its batches from."""
        ...


def training_batch(
    images: Images, rng: np.random.Generator, *, augment: bool, subject: Subject, preprocessing: Preprocessing = DEFAULT
) -> NDArray[np.float32]:
    """Return images, uint8 [n, s, s, 3], as a network sees them in training: float32 in 0..1, changed if asked."""
    if not augment:
        return normalise(images, preprocessing)
    return recolour(normalise(augmented(images, subject, rng), preprocessing), rng)


class PictureInputs:
    """Pictures straight to the network, changed anew in every step."""

    def __init__(self, subject: Subject, preprocessing: Preprocessing = DEFAULT) -> None:
        self._subject = subject
        self._preprocessing = preprocessing

    def plain(self, images: Images) -> Batch:
        """See `Inputs.plain`."""
        return [normalise(images, self._preprocessing)]

    def drawing(self, images: Squares, options: TrainingOptions) -> Draw:
        """See `Inputs.drawing`."""
        return _PictureDraw(images, self._subject, self._preprocessing, augment=options.augment)


class _PictureDraw:
    def __init__(self, images: Squares, subject: Subject, preprocessing: Preprocessing, *, augment: bool) -> None:
        self._images, self._subject, self._preprocessing, self._augment = images, subject, preprocessing, augment

    def batch(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        batch = training_batch(
            self._images[chosen],
            rng,
            augment=self._augment,
            subject=self._subject,
            preprocessing=self._preprocessing,
        )
        return [batch]


class TrunkInputs:
    """The maps of a frozen trunk, of each picture and of fixed changed copies of it."""

    def __init__(
        self, trunk: Trunk, subject: Subject, input_size: int, *, jit: bool, preprocessing: Preprocessing = DEFAULT
    ) -> None:
        """Build the trunk.

        Args:
            trunk: what to build.
            subject: decides how copies are changed.
            input_size: side of the pictures in pixels.
            jit: compile it with XLA, where Keras runs it.
            preprocessing: how pictures come to 0..1.

        Raises:
            CheckpointRefused: the trunk's file is missing or changed.
        """
        self._subject = subject
        self._preprocessing = preprocessing
        self._runner = runner(trunk, input_size, jit=jit)
        self._kept: OrderedDict[tuple[bytes, int], Maps] = OrderedDict()
        self._kept_bytes = 0

    def plain(self, images: Images) -> Batch:
        """See `Inputs.plain`."""
        return _stacked([maps for (maps,) in self.maps(images, copies=1)])

    def drawing(self, images: Squares, options: TrainingOptions) -> Draw:
        """See `Inputs.drawing`."""
        mirror = options.augment and CHANGES[self._subject].flips_across
        return _TrunkDraw(self.maps(images, copies=options.copies if options.augment else 1), mirror=mirror)

    def maps(self, images: Squares, *, copies: int) -> list[list[Maps]]:
        """Return for each picture the maps of its copies; copy 0 is the picture itself.

        How a copy is changed follows from the picture and the copy's number alone, so that it is the same in every
        round and process.
        """
        digests = [hashlib.sha256(image).digest() for image in images]
        wanted = [(digest, copy) for digest in digests for copy in range(copies)]
        found = {key: self._kept[key] for key in wanted if key in self._kept}
        missing = list(dict.fromkeys(key for key in wanted if key not in found))
        place = dict(zip(digests, range(len(images)), strict=True))
        for start in range(0, len(missing), TRUNK_BATCH):
            keys = missing[start : start + TRUNK_BATCH]
            pictures = np.stack([self._copy(images[place[digest]], digest, copy) for digest, copy in keys])
            found |= zip(keys, self._run(pictures), strict=True)
        for key in wanted:
            self._keep(key, found[key])
        return [[found[digest, copy] for copy in range(copies)] for digest in digests]

    def _copy(self, image: Images, digest: bytes, copy: int) -> Images:
        if copy == 0:
            return image
        seed = int.from_bytes(digest[:8], "big")
        return augmented(image[None], self._subject, np.random.default_rng([seed, copy]))[0]

    def _run(self, pictures: Images) -> list[Maps]:
        halves = [maps.astype(np.float16) for maps in self._runner(normalise(pictures, self._preprocessing))]
        return [tuple(value[i].copy() for value in halves) for i in range(len(pictures))]

    def _keep(self, key: tuple[bytes, int], maps: Maps) -> None:
        """Keep maps, and drop those that were asked for longest ago where there is no more room."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        self._kept[key] = maps
        self._kept_bytes += _size(maps)
        while self._kept_bytes > CACHE_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= _size(dropped)


class _TrunkDraw:
    """Draws a copy of each picture; with `mirror`, half of their maps are mirrored, as if the pictures had been.

    That is not quite the map of the mirrored picture, since each halving of a trunk looks to the right, but it costs
    nothing and doubles the copies.
    """

    def __init__(self, maps: list[list[Maps]], *, mirror: bool) -> None:
        self._maps, self._mirror = maps, mirror

    def batch(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        copies = rng.integers(0, len(self._maps[0]), len(chosen))
        batch = _stacked([self._maps[image][copy] for image, copy in zip(chosen, copies, strict=True)])
        if self._mirror:
            mirrored = rng.random(len(chosen)) < 1 / 2
            for maps in batch:
                maps[mirrored] = maps[mirrored, :, ::-1]
        return batch


def _stacked(maps: Sequence[Maps]) -> Batch:
    return [np.stack(of_point).astype(np.float32) for of_point in zip(*maps, strict=True)]


def _size(maps: Maps) -> int:
    return sum(array.nbytes for array in maps)
