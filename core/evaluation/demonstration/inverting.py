"""Step 5: the same attack on one hospital's update as the cloud held it in a plain round, and in a blind one."""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.cloud import Keeping, Seen
from core.evaluation.attacks.gradient_inversion import Inverted, invert
from core.evaluation.attacks.held import flat
from core.evaluation.attacks.metrics import psnr
from core.evaluation.demonstration.federation import Played, play
from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.modes import as_numbers
from core.evaluation.demonstration.outcome import Outcome, Picture, Table
from core.imaging.datasets import DatasetArrays, Part
from core.imaging.decode import encode_png
from core.imaging.preprocess import preprocess
from core.imaging.synthetic import STYLES, generate_cell
from core.learning.orders import AggregationMode, training_party
from core.learning.weights import decode_weights
from core.studies import LEUKEMIA
from federated.numpy_learner import pooled
from federated.smooth import SmoothLearner
from security.signing import claims_of

VICTIM = "north"
HOSPITALS = ("east", "north", "south")
ITERATIONS = 200
_SEED = 23
_SHOWN_SIDE = 192
_SUCCESS_DB = 10.0
"""So many decibels better than the flat colour, an attack has succeeded."""
Vector = NDArray[np.float64]


def show_inversion(say: Say) -> Outcome:
    """Play a plain and a blind round of one picture for each hospital, and attack what the cloud held of one."""
    say("drawing one picture for each hospital", 0.0)
    data = _one_picture_each()
    true = pooled(np.asarray(data[VICTIM].part(Part.TRAINING).images), SmoothLearner.POOL)[0].astype(np.float64) + 0.5
    flat_colour = np.broadcast_to(true.mean(axis=(0, 1)), true.shape)
    attacks: dict[AggregationMode, Inverted] = {}
    for place, mode in ((0.05, AggregationMode.PLAIN), (0.55, AggregationMode.BLIND)):
        say(f"a round in mode {mode.value}", place)
        seen: list[Seen] = []
        played = play(
            mode,
            data,
            cloud=lambda transport, notary, keep=seen.append: Keeping(transport, notary, keep),  # type: ignore[misc]
            say=lambda text, _share, at=place: say(text, at),  # type: ignore[misc]
            epochs=1,
        )
        held = next(one.data for one in seen if one.party == training_party(VICTIM))
        attacks[mode] = _attack(mode, held, played, say, place)
    plain, blind = attacks[AggregationMode.PLAIN], attacks[AggregationMode.BLIND]
    decibels = {"flat": psnr(flat_colour, true), "plain": psnr(plain.picture, true), "blind": psnr(blind.picture, true)}
    succeeded = decibels["plain"] > decibels["flat"] + _SUCCESS_DB
    failed = decibels["blind"] < decibels["flat"]
    return Outcome(
        headline=(
            f"From the plain update the picture came back at {decibels['plain']:.1f} dB; from the blind one came "
            f"{decibels['blind']:.1f} dB, less than a flat colour's {decibels['flat']:.1f} dB."
            if succeeded and failed
            else "The attack did not come out as expected; the figures below are what was measured."
        ),
        as_told=succeeded and failed,
        pictures=(
            _picture(true, "The picture that North trained on", "A synthetic blast cell, 32 by 32 pixels"),
            _picture(
                plain.picture,
                f"From the plain update: {decibels['plain']:.1f} dB",
                "What the attack found from the plain update" + (": the same cell" if succeeded else ""),
            ),
            _picture(
                blind.picture,
                f"From the blind upload: {decibels['blind']:.1f} dB",
                "What the attack found from the blind upload" + (": coloured noise" if failed else ""),
            ),
            _picture(flat_colour, f"Flat colour: {decibels['flat']:.1f} dB", "A surface of the picture's mean colour"),
        ),
        tables=(
            Table(
                title="The attack on each",
                columns=("What was attacked", "PSNR", "Distance of the gradients that is left", "Evaluations"),
                rows=(
                    ("Plain update", f"{decibels['plain']:.1f} dB", f"{plain.distance:.1e}", f"{plain.evaluations:,}"),
                    ("Blind upload", f"{decibels['blind']:.1f} dB", f"{blind.distance:.1e}", f"{blind.evaluations:,}"),
                    ("Nothing: a flat colour", f"{decibels['flat']:.1f} dB", "none", "0"),
                ),
            ),
        ),
    )


def _attack(mode: AggregationMode, held: bytes, played: Played, say: Say, place: float) -> Inverted:
    """Attack what the cloud held; the attacker knows the network in both modes, which a blind cloud does not."""
    weights = played.before(VICTIM)
    size = sum(array.size for array in weights.values())
    if mode is AggregationMode.PLAIN:
        update = flat(decode_weights(claims_of(held)[1])[0])
    else:
        update = as_numbers(held, members=len(HOSPITALS))[:size]
    return invert(
        -update / SmoothLearner.RATE,
        weights,
        side=LEUKEMIA.input_size // SmoothLearner.POOL,
        iterations=ITERATIONS,
        rng=np.random.default_rng(_SEED),
        progress=lambda done: say(f"attacking the {mode.value} update", place + 0.4 * done / ITERATIONS),
    )


def _one_picture_each() -> dict[str, DatasetArrays]:
    """Return data sets of one training and one validation picture."""
    made = {}
    for number, slug in enumerate(HOSPITALS):
        rng = np.random.default_rng([_SEED, number])
        cells = [generate_cell(rng, blast=blast, style=STYLES[slug]) for blast in (True, number % 2 == 0)]
        made[slug] = DatasetArrays(
            images=np.stack([preprocess(cell, LEUKEMIA.input_size, LEUKEMIA.preprocessing) for cell in cells]),
            labels=np.array([1, number % 2 == 0], np.int64),
            patients=(f"{slug}-1", f"{slug}-2"),
            parts=np.array([list(Part).index(Part.TRAINING), list(Part).index(Part.VALIDATION)], np.uint8),
        )
    return made


def _picture(values: Vector, caption: str, alt: str) -> Picture:
    pixels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    larger = cv2.resize(pixels, (_SHOWN_SIDE, _SHOWN_SIDE), interpolation=cv2.INTER_NEAREST)
    return Picture(caption=caption, alt=alt, group="attack", png=encode_png(np.ascontiguousarray(larger)))
