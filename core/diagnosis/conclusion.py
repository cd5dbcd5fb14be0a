"""From the answers for a case's images to the answer of the case. Pure: whoever has the signed results can repeat it.

The rule:

- *One image with one thing to judge* (a cell, a scan): its own answer.
- *Several cells of one patient* (studies of single cells): the alarm rule of the model. A cell is *alarming* when its
  calibrated positive probability reaches the manifest's alarm threshold; the manifest's alarm rate was chosen so that
  at most `false_alarm_bound` of all-normal patients of `ENOUGH` cells exceed it.

  - From `ENOUGH` cells on, the case is positive when the share of alarming cells exceeds the alarm rate, else negative.
  - With fewer cells it is positive when even so few show it: when, with cells alarming as often as the alarm rate
    says, as many as here would come up in at most `false_alarm_bound` of patients (exact binomial tail). Otherwise it
    is uncertain: too few cells to say that nothing is there.

- *Several images of another kind*: the most serious answer (positive, then uncertain, then negative) decides.

The *share* of positive cells is that of the cells called positive or, near the threshold, nearest to positive (at or
above the threshold), with the Wilson score interval of 95 % (Wilson 1927). It speaks of the cells of one patient's
pictures: it takes them for a fair draw from the smear and does not count the model's own errors.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.diagnosis.predictor import Outcome
from core.diagnosis.result import CellFinding, DiagnosisResult
from core.learning.metric_sums import PSEUDO_PATIENT_CELLS
from core.studies import Study, Subject

ENOUGH = PSEUDO_PATIENT_CELLS
"""Cells from which the alarm rule can also say that nothing is there: as many as the alarm rate was chosen for."""
WORST = 12
_Z = 1.959963984540054
_SERIOUS = (Outcome.POSITIVE, Outcome.UNCERTAIN, Outcome.NEGATIVE)


@dataclass(frozen=True)
class Suspect:
    """A finding and the image that it is in (number from 0)."""

    image: int
    finding: CellFinding


@dataclass(frozen=True)
class Conclusion:
    """The answer of a case. Shares and probabilities are in 0..1.

    Attributes:
        outcome: by the rule of this module.
        label_index: the class that is called: the most frequent one on the side of the outcome, of an uncertain case
            that of the most suspicious finding.
        positive_probability: of the most suspicious finding.
        confidence: probability of the side that is called, for the finding that decides where one does; of several
            cells it is that of the most suspicious finding.
        images: number of images.
        cells: findings that were judged.
        positive: findings whose positive probability reaches the model's threshold.
        share: `positive` of `cells` ...
        share_low, share_high: ... with its Wilson interval of 95 %.
        alarming: findings that count for the alarm.
        alarm_rate: share of alarming cells that must be exceeded.
        by_alarm: the alarm rule decided, not a single answer.
        worst: the `WORST` most suspicious findings, the most suspicious first.
    """

    outcome: Outcome
    label_index: int
    positive_probability: float
    confidence: float
    images: int
    cells: int
    positive: int
    share: float
    share_low: float
    share_high: float
    alarming: int
    alarm_rate: float
    by_alarm: bool
    worst: tuple[Suspect, ...]


def conclude(results: Sequence[DiagnosisResult], study: Study) -> Conclusion:
    """Put the answers for all images of a case together.

    Raises:
        ValueError: no result, or results of different models.
    """
    if len({(result.checkpoint_id, result.weights_sha256) for result in results}) != 1:
        raise ValueError("the results of one model, one for each image, expected")
    suspects = sorted(
        (Suspect(result.image, finding) for result in results for finding in result.findings),
        key=lambda suspect: -suspect.finding.positive_probability,
    )
    first, cells = results[0], len(suspects)
    positive = sum(suspect.finding.positive_probability >= first.threshold for suspect in suspects)
    alarming = sum(suspect.finding.positive_probability >= first.alarm_threshold for suspect in suspects)
    by_alarm = study.subject is Subject.CELL and cells > 1
    if by_alarm:
        outcome = _by_alarm(alarming, cells, first.alarm_rate, first.false_alarm_bound)
    else:
        outcome = min((suspect.finding.outcome for suspect in suspects), key=_SERIOUS.index)
    deciding = next((s for s in suspects if s.finding.outcome is outcome), suspects[0]).finding
    lead = suspects[0].finding if by_alarm else deciding
    low, high = wilson(positive, cells)
    probability = lead.positive_probability
    return Conclusion(
        outcome=outcome,
        label_index=_called(suspects, outcome, study, lead),
        positive_probability=probability,
        confidence=probability if probability >= first.threshold else 1.0 - probability,
        images=len(results),
        cells=cells,
        positive=positive,
        share=positive / cells,
        share_low=low,
        share_high=high,
        alarming=alarming,
        alarm_rate=first.alarm_rate,
        by_alarm=by_alarm,
        worst=tuple(suspects[:WORST]),
    )


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the Wilson score interval of 95 % for `count` of `total`."""
    share, square = count / total, _Z**2 / total
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def binomial_tail(count: int, total: int, rate: float) -> float:
    """Return the probability of `count` or more of `total` when each comes up with probability `rate`."""
    return math.fsum(math.comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in range(count, total + 1))


def _by_alarm(alarming: int, cells: int, rate: float, bound: float) -> Outcome:
    if cells >= ENOUGH:
        return Outcome.POSITIVE if alarming > rate * cells else Outcome.NEGATIVE
    return Outcome.POSITIVE if binomial_tail(alarming, cells, rate) <= bound else Outcome.UNCERTAIN


def _called(suspects: Sequence[Suspect], outcome: Outcome, study: Study, lead: CellFinding) -> int:
    if outcome is Outcome.UNCERTAIN:
        return lead.label_index
    wanted = outcome is Outcome.POSITIVE
    labels = Counter(
        suspect.finding.label_index
        for suspect in suspects
        if study.classes[suspect.finding.label_index].positive is wanted
    )
    if not labels:  # no cell by itself, but the alarm rule, called this side
        return next(number for number, label in enumerate(study.classes) if label.positive is wanted)
    return max(sorted(labels), key=labels.__getitem__)
