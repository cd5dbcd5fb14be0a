"""Inversion, membership and property inference on synthetic cells: in plain they succeed, in blind they do not."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import DatasetRefused
from core.evaluation.attacks import inference, inversion, membership, model_inversion, properties, reconstruction
from core.evaluation.attacks.bench import QUICK, Bench
from core.evaluation.attacks.held import HOSPITALS
from core.evaluation.attacks.metrics import psnr
from core.evaluation.attacks.pictures import BATCH, Pictures, draw_secret
from core.evaluation.attacks.result import Attacked, View
from core.imaging.synthetic import STYLES, generate_arrays
from core.learning.orders import AggregationMode
from core.studies import LEUKEMIA

PLAIN, SEALED, BLIND = AggregationMode


def silent(_text: str, _done: int, _total: int) -> None:
    """Hear what is going on."""


def drawn(seed: int) -> Pictures:
    """Cells of two laboratories: their stain is the property."""
    styles = STYLES["east"], STYLES["north"]
    sets = [generate_arrays(patients=9, cells_per_patient=6, style=style, seed=seed) for style in styles]
    images = np.concatenate([one.images for one in sets])
    labels = np.concatenate([one.labels for one in sets])
    return Pictures(images, labels, np.repeat([0.0, 1.0], [len(one) for one in sets]))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    few = replace(
        QUICK,
        inversions={PLAIN: 2, SEALED: 2, BLIND: 2},
        models=1,
        sealings=3,
        inferences={PLAIN: 60, SEALED: 60, BLIND: 60},
        told=60,
        shadows=200,
    )
    out = tmp_path_factory.mktemp("attacks")
    return Bench(
        own=drawn(1), theirs=drawn(2), study=LEUKEMIA, profile=few, seed=0, out=out, folder=out / "held", say=silent
    )


def by_view(found: list[Attacked]) -> dict[View, Attacked]:
    return {one.view: one for one in found}


def test_a_picture_comes_back_from_a_plain_update_and_from_no_other(bench: Bench) -> None:
    found = by_view(inversion.attack(bench))
    plain, blind = found[View.PLAIN], found[View.BLIND]
    assert (plain.successes, plain.trials) == (2, 2)
    assert plain.figures["psnr found"][0] > 30
    for one in (found[View.SEALED], blind):
        assert one.successes == 0
        assert one.figures["psnr found"][0] < one.figures["psnr flat"][0]
        assert one.figures["perceptual found"][0] > plain.figures["perceptual found"][0]
    assert (bench.out / "attacks" / "gradient-inversion-blind.png").exists()


def test_what_stands_for_a_hospitals_pictures_comes_from_plain_updates_and_from_no_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tenth of the search and hardly any training of the generator, which has tests of its own."""
    for name, smaller in {"SIDE": 16, "ITERATIONS": 15, "STEPS": 5}.items():
        monkeypatch.setattr(reconstruction, name, smaller)
    likeness = {}
    for mode in (PLAIN, BLIND):
        found = reconstruction.reconstruct(bench, mode, 0)
        assert len(found) == 2 * reconstruction.HOSPITALS
        likeness[mode] = np.array([psnr(one.representative, one.tried.true) for one in found])
    assert (likeness[PLAIN] > likeness[BLIND] + 1).all()


def test_a_model_in_clear_is_inverted_and_a_sealed_one_is_not(bench: Bench) -> None:
    found = by_view(model_inversion.attack(bench))
    clear, sealed = found[View.STORED_CLEAR], found[View.STORED]
    assert (clear.successes, clear.trials) == (1, 1)
    assert (sealed.successes, sealed.trials) == (0, 3)
    assert (bench.out / "attacks" / sealed.picture).is_file()


def test_membership_is_told_from_a_plain_update_and_from_no_other(bench: Bench) -> None:
    found = by_view(membership.attack(bench))
    assert found[View.PLAIN].figures["auc"][1] > 0.55
    for view in (View.SEALED, View.BLIND):
        for _, low, high in found[view].figures["auc of each"].values():
            assert low - 0.1 < 0.5 < high + 0.1
    assert found[View.BLIND].figures["uploads"] == 60


def test_the_stain_is_told_from_a_plain_update_and_from_no_other(bench: Bench) -> None:
    found = by_view(properties.attack(bench))
    assert found[View.PLAIN].figures["auc"][1] > 0.75
    for view in (View.SEALED, View.BLIND):
        for _, low, high in found[view].figures["auc of each"].values():
            assert low - 0.1 < 0.5 < high + 0.1


def test_a_batch_says_nothing_of_its_secrets_by_its_size_or_labels() -> None:
    pictures, rng = drawn(3), np.random.default_rng(0)
    thirds = pictures.thirds()
    secrets = [draw_secret(thirds, rng) for _ in range(400)]
    assert {len(secret.batch) for secret in secrets} == {BATCH}
    assert all((secret.candidate in secret.batch) is secret.is_member for secret in secrets)
    shares = {
        has: np.mean([pictures.labels[one.batch].mean() for one in secrets if one.has_property is has])
        for has in (True, False)
    }
    assert shares[True] == pytest.approx(shares[False], abs=0.05)
    for secret in secrets:
        assert set(pictures.looks[secret.batch]) == {float(secret.has_property)}


def test_too_few_pictures_are_refused() -> None:
    few = Pictures(np.zeros((9, 96, 96, 3), np.uint8), np.zeros(9, np.int64), np.arange(9.0))
    with pytest.raises(DatasetRefused):
        few.thirds()


def test_what_was_held_before_is_not_played_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inference.held_trainings(bench, PLAIN)
    monkeypatch.setattr("core.evaluation.attacks.held.play_rounds", None)
    again = inference.held_trainings(bench, PLAIN)
    assert np.array_equal(first.vectors, again.vectors)
    assert len(list((bench.folder / "inference").glob("plain-*.npy"))) == 120 // HOSPITALS
