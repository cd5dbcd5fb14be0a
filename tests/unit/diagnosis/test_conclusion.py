"""The answer of a case from the answers for its images: one as it is, cells by the alarm rule, too few uncertain."""

import pytest

from core.diagnosis.conclusion import ENOUGH, WORST, Conclusion, binomial_tail, conclude, wilson
from core.diagnosis.predictor import Outcome
from core.diagnosis.result import CellFinding, DiagnosisResult
from core.studies import LEUKEMIA, STUDIES
from tests.unit.diagnosis.test_wire import result

MULTIMODAL = STUDIES["multimodal"]
ALARMING, CALLED, NORMAL = 0.95, 0.7, 0.02
"""Above the alarm threshold of 0.9, above the threshold of 0.5 only, below both."""


def cell(p: float) -> CellFinding:
    outcome = Outcome.POSITIVE if p >= 0.5 else Outcome.NEGATIVE
    return CellFinding(
        box=(0, 0, 160),
        probabilities=(1 - p, p),
        label_index=int(p >= 0.5),
        outcome=outcome,
        positive_probability=p,
        heat_map_png=b"",
    )


def field(*probabilities: float, image: int = 0, images: int = 1) -> DiagnosisResult:
    cells = tuple(cell(p) for p in probabilities)
    return result(image=image, images=images, cells=cells, cells_seen=len(cells))


def of(*probabilities: float) -> Conclusion:
    return conclude([field(*probabilities)], LEUKEMIA)


def test_a_single_cell_answers_as_it_is() -> None:
    for outcome, p in ((Outcome.UNCERTAIN, 0.6), (Outcome.POSITIVE, 0.8), (Outcome.NEGATIVE, 0.1)):
        answer = conclude([result(outcome=outcome, positive_probability=p, label_index=int(p > 0.5))], LEUKEMIA)
        assert (answer.outcome, answer.label_index, answer.cells) == (outcome, int(p > 0.5), 1)
        assert not answer.by_alarm


def test_enough_cells_are_positive_above_the_alarm_rate_and_negative_up_to_it() -> None:
    for alarming, outcome in ((0, Outcome.NEGATIVE), (3, Outcome.NEGATIVE), (4, Outcome.POSITIVE)):
        answer = of(*[ALARMING] * alarming, *[NORMAL] * (ENOUGH - alarming))
        assert answer.outcome is outcome
        assert answer.label_index == int(outcome is Outcome.POSITIVE)
        assert answer.by_alarm


def test_cells_below_the_alarm_threshold_are_counted_but_raise_no_alarm() -> None:
    answer = of(*[CALLED] * 30, *[NORMAL] * 70)
    assert (answer.outcome, answer.positive, answer.alarming, answer.share) == (Outcome.NEGATIVE, 30, 0, 0.3)
    assert answer.label_index == 0


def test_few_cells_without_an_alarm_are_uncertain_however_normal_they_look() -> None:
    assert of(*[NORMAL] * (ENOUGH - 1)).outcome is Outcome.UNCERTAIN
    assert of(NORMAL, NORMAL).outcome is Outcome.UNCERTAIN


def test_few_cells_are_positive_when_chance_explains_them_no_more() -> None:
    assert binomial_tail(1, 5, 0.03) > 0.05 > binomial_tail(2, 5, 0.03)
    assert of(ALARMING, *[NORMAL] * 4).outcome is Outcome.UNCERTAIN
    assert of(ALARMING, ALARMING, *[NORMAL] * 3).outcome is Outcome.POSITIVE


def test_the_cells_of_all_images_count_together() -> None:
    parts = [field(*[ALARMING] * 2, *[NORMAL] * 48, image=n, images=2) for n in range(2)]
    assert conclude(parts[:1], LEUKEMIA).outcome is Outcome.UNCERTAIN
    both = conclude(parts, LEUKEMIA)
    assert (both.outcome, both.images, both.cells, both.alarming) == (Outcome.POSITIVE, 2, 100, 4)


def test_pictures_of_single_cells_count_as_a_cell_each() -> None:
    singles = [result(image=n, images=3, positive_probability=0.97) for n in range(3)]
    answer = conclude(singles, LEUKEMIA)
    assert (answer.cells, answer.by_alarm, answer.outcome) == (3, True, Outcome.POSITIVE)


def test_the_worst_cells_come_first_and_are_no_more_than_a_gallery_holds() -> None:
    answer = of(*[n / 40 for n in range(40)])
    shown = [suspect.finding.positive_probability for suspect in answer.worst]
    assert shown == [n / 40 for n in range(39, 39 - WORST, -1)]
    assert answer.positive_probability == 39 / 40


def test_of_several_scans_the_most_serious_answer_decides() -> None:
    def scan(number: int, outcome: Outcome, p: float, label: int) -> DiagnosisResult:
        return result(image=number, images=2, outcome=outcome, positive_probability=p, label_index=label)

    sick, well = MULTIMODAL.positive_indices[0], next(i for i, c in enumerate(MULTIMODAL.classes) if not c.positive)
    answer = conclude([scan(0, Outcome.NEGATIVE, 0.1, well), scan(1, Outcome.POSITIVE, 0.9, sick)], MULTIMODAL)
    assert (answer.outcome, answer.label_index, answer.by_alarm) == (Outcome.POSITIVE, sick, False)
    answer = conclude([scan(0, Outcome.UNCERTAIN, 0.5, sick), scan(1, Outcome.NEGATIVE, 0.1, well)], MULTIMODAL)
    assert answer.outcome is Outcome.UNCERTAIN


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, gives 0.2553 to 0.3662 for 81 of 263."""
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_results_of_different_models_are_not_put_together() -> None:
    with pytest.raises(ValueError, match="one model"):
        conclude([result(images=2), result(image=1, images=2, checkpoint_id="other")], LEUKEMIA)
    with pytest.raises(ValueError, match="one model"):
        conclude([], LEUKEMIA)
