"""Which hospital answers a case: the patient's wish first, then distance and load among those that can answer.

Pure: numbers in, a decision out. What is stored are codes and numbers; `explain` turns them into a sentence. Distances
are kept in tens of kilometres, and only to the chosen hospital, so that a stolen row does not tell where a person is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from core.errors import NoHospital, RecordDamaged
from core.services.places import Place, distance_km

KM_PER_OPEN_CASE = 25.0  # one open case in front of the patient weighs as much as this much further to go
ROUND_KM = 10
CHOSEN_CANNOT = "the hospital you chose cannot answer now; choose another one, or leave the choice open"


class Reason(StrEnum):
    """Why a hospital was chosen."""

    PREFERRED = "preferred"
    NEAREST = "nearest"
    LESS_BUSY = "less_busy"
    ONLY_ONE = "only_one"
    INSTEAD_OF_PREFERRED = "instead_of_preferred"
    REFERRED = "referred"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What routing knows of a hospital.

    Attributes:
        hospital_id: its row.
        latitude: degrees north.
        longitude: degrees east.
        open_cases: cases that wait there for an answer or for a doctor.
        healthy: its enclave answered, or was never asked yet.
        has_model: the model in service is sealed for its serving key.
    """

    hospital_id: str
    latitude: float
    longitude: float
    open_cases: int
    healthy: bool = True
    has_model: bool = True


@dataclass(frozen=True, kw_only=True)
class RoutingDecision:
    """The chosen hospital and why.

    Attributes:
        hospital_id: where the case goes.
        fallback_id: who may answer if that one does not; only with the patient's consent.
        reason: the deciding fact.
        distance_km: to the chosen hospital, in tens of kilometres; None if no place was given.
        open_cases: at the chosen hospital when it was chosen.
        candidates: hospitals that could have answered.
        failed_over: the fallback answered in its place.
    """

    hospital_id: str
    fallback_id: str | None
    reason: Reason
    distance_km: int | None
    open_cases: int
    candidates: int
    failed_over: bool = False

    def to_json(self) -> dict[str, object]:
        """The codes and numbers that are stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RoutingDecision":
        """Read back what `to_json` wrote.

        Raises:
            RecordDamaged: it was changed from outside.
        """
        try:
            return cls(**{**stored, "reason": Reason(stored["reason"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RecordDamaged from error

    def after_referral(self, hospital_id: str) -> "RoutingDecision":
        """The decision to refer the case to another hospital; where the patient is plays no part in it."""
        return replace(
            self,
            hospital_id=hospital_id,
            fallback_id=None,
            reason=Reason.REFERRED,
            distance_km=None,
            open_cases=0,
            failed_over=False,
        )

    def after_failover(self) -> "RoutingDecision":
        """The same decision, with the note that the fallback answered."""
        return replace(self, failed_over=True)


def choose(
    candidates: Sequence[Candidate], *, preferred: str | None, place: Place | None, allow_fallback: bool
) -> RoutingDecision:
    """Choose a hospital and, if allowed, a fallback.

    A preferred hospital is kept even while it does not answer, unless the patient allows another: the image must not
    go where its owner did not want it. Otherwise the lowest of distance plus load wins, healthy hospitals first.

    Raises:
        NoHospital: no hospital has the model, or not the preferred one while no other is allowed.
    """
    able = [candidate for candidate in candidates if candidate.has_model]
    wanted = next((candidate for candidate in able if candidate.hospital_id == preferred), None)
    if not able or (preferred is not None and wanted is None and not allow_fallback):
        raise NoHospital(CHOSEN_CANNOT if able else "")
    ranked = sorted(able, key=lambda candidate: (not candidate.healthy, _cost(candidate, place), candidate.hospital_id))
    if wanted is not None and (wanted.healthy or not allow_fallback or len(able) == 1):
        chosen, reason = wanted, Reason.PREFERRED
    else:
        chosen = ranked[0]
        reason = Reason.INSTEAD_OF_PREFERRED if preferred is not None else _reason(chosen, able, place)
    others = [candidate for candidate in ranked if candidate.hospital_id != chosen.hospital_id]
    distance = _distance(chosen, place)
    return RoutingDecision(
        hospital_id=chosen.hospital_id,
        fallback_id=others[0].hospital_id if others and allow_fallback else None,
        reason=reason,
        distance_km=None if distance is None else round(distance / ROUND_KM) * ROUND_KM,
        open_cases=chosen.open_cases,
        candidates=len(able),
    )


def explain(decision: RoutingDecision, names: Mapping[str, str], *, to_patient: bool = True) -> str:
    """Return the reason as a few sentences, said to the patient or to somebody else; `names` maps hospital ids."""
    you, for_you = ("you", " for you") if to_patient else ("the patient", "")
    name = names.get(decision.hospital_id, "This hospital")
    queue = "no open cases" if decision.open_cases == 0 else f"{decision.open_cases} open cases"
    if decision.open_cases == 1:
        queue = "one open case"
    sentence = {
        Reason.PREFERRED: f"{name} was asked because {you} chose it.",
        Reason.NEAREST: f"{name} was asked because it is the nearest hospital that can answer.",
        Reason.LESS_BUSY: f"{name} was asked because it can answer soonest{for_you}: it had {queue}.",
        Reason.ONLY_ONE: f"{name} was asked because it is the only hospital that can answer now.",
        Reason.INSTEAD_OF_PREFERRED: (
            f"The hospital {you} chose could not answer, so {name} was asked, as {you} allowed."
        ),
        Reason.REFERRED: f"{name} was asked because the case was referred to it, as {you} allowed.",
    }[decision.reason]
    if decision.distance_km is not None:
        far = f"about {decision.distance_km} km" if decision.distance_km else "less than 10 km"
        sentence += f" It is {far} from the place {you} gave."
    if decision.failed_over and decision.fallback_id:
        other = names.get(decision.fallback_id, "another hospital")
        sentence += f" It did not answer in time, so {other} answered in its place, as {you} allowed."
    return sentence


def _distance(candidate: Candidate, place: Place | None) -> float | None:
    if place is None:
        return None
    return distance_km(place.latitude, place.longitude, candidate.latitude, candidate.longitude)


def _cost(candidate: Candidate, place: Place | None) -> float:
    return (_distance(candidate, place) or 0.0) + KM_PER_OPEN_CASE * candidate.open_cases


def _reason(chosen: Candidate, able: Sequence[Candidate], place: Place | None) -> Reason:
    healthy = [candidate for candidate in able if candidate.healthy] or list(able)
    if len(healthy) == 1:
        return Reason.ONLY_ONE
    if place is None:
        return Reason.LESS_BUSY
    nearest = min(healthy, key=lambda candidate: _distance(candidate, place) or 0.0)
    return Reason.NEAREST if nearest.hospital_id == chosen.hospital_id else Reason.LESS_BUSY
