"""The measure of drift: its distance is the published one, patients weigh alike, and its limits are kept."""

import numpy as np
import pytest
from scipy.stats import kstwobign

from core.imaging import drift
from core.imaging.drift import FIGURES, LEAST_PATIENTS, Looks, compare, figures_of, looks_of, looks_of_figures
from core.imaging.synthetic import STYLES, generate_arrays
from core.studies import LEUKEMIA, STUDIES

COUNT = len(FIGURES)


def sent(values: np.ndarray) -> dict[str, list[tuple[float, ...]]]:
    """One picture of each of so many patients, all figures alike."""
    return {f"p{number}": [(float(value),) * COUNT] for number, value in enumerate(values)}


def trained(values: np.ndarray) -> Looks:
    return looks_of_figures(np.repeat(values[:, None], COUNT, axis=1), [f"t{n}" for n in range(len(values))])


def test_the_distance_is_the_largest_gap_between_the_two_distribution_functions() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=500), rng.normal(0.7, 1.3, 60)
    points = np.concatenate([old, new])
    gap = max(abs((old <= x).mean() - (new <= x).mean()) for x in points)
    found = compare(trained(old), sent(new))
    assert [one.figure for one in found] == list(FIGURES)
    assert all(one.distance == pytest.approx(gap, abs=0.011) for one in found)


def test_its_probability_is_kolmogorovs_with_stephens_correction() -> None:
    values = np.arange(40.0)
    (one, *_) = compare(trained(values), sent(values + 8))
    size = 40 * 40 / 80
    corrected = (np.sqrt(size) + 0.12 + 0.11 / np.sqrt(size)) * one.distance
    assert one.p == pytest.approx(kstwobign.sf(corrected), rel=1e-6)


def test_values_that_are_all_the_same_have_no_distance_and_others_than_those_the_greatest() -> None:
    same = np.zeros(30)
    assert {one.distance for one in compare(trained(same), sent(np.zeros(25)))} == {0.0}
    assert {one.distance for one in compare(trained(same), sent(np.ones(25)))} == {1.0}
    assert all(one.drifted for one in compare(trained(same), sent(np.ones(25))))


def test_a_patient_with_many_pictures_weighs_no_more_than_one_with_a_single_picture() -> None:
    old = np.random.default_rng(1).normal(size=200)
    new = sent(np.random.default_rng(2).normal(size=30))
    before = compare(trained(old), new)
    new["p0"] = new["p0"] * 500
    after = compare(trained(old), new)
    assert [one.distance for one in after] == pytest.approx([one.distance for one in before])
    many = np.concatenate([old, np.full(5000, 9.0)])
    names = [f"t{n}" for n in range(len(old))] + ["t0"] * 5000
    looks = looks_of_figures(np.repeat(many[:, None], COUNT, axis=1), names)
    assert looks.patients == 200
    assert np.abs(np.array(looks.percentiles[0])[5:95] - np.array(trained(old).percentiles[0])[5:95]).max() < 0.2


def test_samples_of_one_source_raise_the_alarm_in_at_most_one_look_of_a_hundred() -> None:
    rng, alarms, looks = np.random.default_rng(3), 0, 400
    for _ in range(looks):
        old = looks_of_figures(rng.normal(size=(60, COUNT)), [f"t{n}" for n in range(60)])
        new = {f"p{n}": [tuple(rng.normal(size=COUNT))] for n in range(25)}
        alarms += any(one.drifted for one in compare(old, new))
    assert alarms <= 0.01 * looks + 3 * np.sqrt(0.01 * looks)


def test_a_small_difference_is_no_drift_however_sure_it_is() -> None:
    old = np.linspace(0, 1, 2000)
    found = compare(trained(old), sent(old + 0.2))
    assert all(one.p < 1e-6 and one.distance < drift.LEAST_DISTANCE and not one.drifted for one in found)


def test_too_few_patients_are_not_judged() -> None:
    old, new = trained(np.arange(50.0)), np.arange(1000.0)
    assert compare(old, sent(new[: LEAST_PATIENTS - 1])) == []
    assert compare(old, sent(new[:LEAST_PATIENTS])) != []
    assert compare(trained(np.arange(drift.LEAST_TRAINED - 1.0)), sent(new)) == []


def test_another_laboratorys_stain_and_lamp_have_drifted_and_ones_own_have_not() -> None:
    own, more, others = (
        generate_arrays(patients=30, cells_per_patient=4, style=STYLES[slug], seed=seed)
        for slug, seed in (("north", 1), ("north", 2), ("south", 3))
    )
    looks = looks_of(own.images, own.patients)
    assert looks is not None
    assert (looks.images, looks.patients) == (120, 30)

    def patients(arrays: object) -> dict[str, list[tuple[float, ...]]]:
        found: dict[str, list[tuple[float, ...]]] = {}
        for image, name in zip(arrays.images, arrays.patients, strict=True):  # type: ignore[attr-defined]
            found.setdefault(name, []).append(figures_of(image, LEUKEMIA))
        return found

    assert not any(one.drifted for one in compare(looks, patients(more)))
    assert any(one.drifted for one in compare(looks, patients(others)))


def test_looks_come_back_as_they_were_kept_and_those_of_other_figures_do_not() -> None:
    looks = trained(np.random.default_rng(4).normal(size=30))
    assert Looks.decode(looks.encode()) == looks
    assert Looks.decode(looks.encode().replace(b'"stain"', b'"shade"')) is None


def test_nothing_has_no_looks_and_of_a_large_set_only_a_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = np.random.default_rng(5).integers(0, 256, (30, 32, 32, 3), np.uint8)
    assert looks_of(squares[:0], ()) is None
    monkeypatch.setattr(drift, "MOST_IMAGES", 10)
    looks = looks_of(squares, [str(number) for number in range(30)])
    assert looks is not None
    assert looks.images == 10


@pytest.mark.parametrize("study", list(STUDIES.values()), ids=lambda study: study.name)
def test_every_study_has_all_figures_whatever_the_picture(study: object) -> None:
    for pixels in (np.zeros((300, 240, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)):
        figures = figures_of(pixels, study)  # type: ignore[arg-type]
        assert len(figures) == COUNT
        assert np.isfinite(figures).all()
