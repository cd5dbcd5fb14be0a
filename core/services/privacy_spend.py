"""Differential privacy for people: what a plan would cost, and what a hospital's data sets have spent.

Nodes keep the history and compute epsilon from it; each round's number comes here sealed with the node's own figures.
What a node spent on an attempt that nobody finished shows with the next number that it states.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from core.errors import RunRefused
from core.learning.orders import MAX_ROUNDS, training_party
from core.learning.privacy import NOT_COVERED, WHOLE_LINE, PrivacyUnit, block_of, epsilon_of
from core.learning.run_choices import PrivacyOptions, PrivateWeights
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.dataset_store import open_name
from core.services.own_hospital import own_hospital
from core.services.run_memory import open_figures
from db.engine import read_scope, session_scope
from db.models import Dataset, Run, RunEvent, RunMember

__all__ = [
    "NOT_COVERED",
    "DatasetSpend",
    "OwnFigures",
    "PlanCost",
    "PrivacyOptions",
    "PrivacyUnit",
    "PrivateWeights",
    "Spend",
    "describe",
    "in_words",
    "own_spend",
    "plan_cost",
]

OwnFigures = MutableMapping[int, dict[str, float]]
"""Event id -> a node's own figures, as a page remembers them."""

STRONG, USUAL = 1.0, 10.0
"""Where the words for an epsilon change; there is no agreed scale (NIST SP 800-226 gives none)."""


@dataclass(frozen=True)
class PlanCost:
    """What a run would cost a data set with nothing spent before.

    Attributes:
        epsilon: after the last round.
        rounds: rounds that the budget allows, at most those planned.
    """

    epsilon: float
    rounds: int


@dataclass(frozen=True)
class Spend:
    """What a node stated after a training.

    Attributes:
        at: when the answer came.
        run_id: of which run.
        round: of that run.
        epsilon: over all private trainings of the data set.
        delta: that belongs to it.
        unit: whose presence is hidden.
        limit: epsilon at which the hospital stops: the order's, or its own if that is smaller.
    """

    at: datetime
    run_id: str
    round: int
    epsilon: float
    delta: float
    unit: PrivacyUnit
    limit: float


@dataclass(frozen=True)
class DatasetSpend:
    """A data set's statements, the oldest first.

    Attributes:
        dataset_id: id of the data set.
        name: its name.
        spent: statements of private trainings.
        unprotected: trainings without noise, which no epsilon covers.
    """

    dataset_id: str
    name: str
    spent: list[Spend]
    unprotected: int


def plan_cost(privacy: PrivacyOptions, *, epochs: int, rounds: int) -> PlanCost:
    """Return what a planned run costs each hospital whose data set has spent nothing before.

    Raises:
        RunRefused: more rounds than a run may have.
    """
    if not 1 <= rounds <= MAX_ROUNDS:
        raise RunRefused(f"1 to {MAX_ROUNDS} rounds, not {rounds}")
    block = block_of(privacy, epochs=epochs)
    epsilon = epsilon_of([block] * rounds, privacy.delta)
    fits, too_many = (rounds, rounds + 1) if epsilon <= privacy.budget_epsilon else (0, rounds)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if epsilon_of([block] * middle, privacy.delta) <= privacy.budget_epsilon:
            fits = middle
        else:
            too_many = middle
    return PlanCost(epsilon, fits)


def describe(privacy: Mapping[str, float | str]) -> str:
    """Return what a lineage states of privacy (`core.learning.lineage.Lineage.privacy`), in a few words."""
    if not privacy:
        return "trained without differential privacy"
    run_only = "" if privacy["covers"] == WHOLE_LINE else "; not for the model that its run began with"
    return f"epsilon {privacy['epsilon']:.2f} per {privacy['unit']}, delta {privacy['delta']:g}{run_only}"


def in_words(epsilon: float, unit: PrivacyUnit) -> str:
    """Return what an epsilon means, in plain words."""
    whose = "one patient's images" if unit is PrivacyUnit.PATIENT else "one image"
    if epsilon <= STRONG:
        return f"Whoever sees the updates can hardly tell whether {whose} took part."
    if epsilon <= USUAL:
        return (
            f"Whoever sees the updates learns little about whether {whose} took part; against somebody who knows "
            "everything else the guarantee is moderate."
        )
    return f"The guarantee is weak: somebody who knows everything else could tell whether {whose} took part."


def own_spend(app: App, actor: Actor, *, seen: OwnFigures | None = None) -> list[DatasetSpend]:
    """Return what the data sets of the actor's hospital have spent, those that took part in a run.

    Args:
        app: the application.
        actor: the hospital's administrator.
        seen: own figures that the page has opened before; new ones are added.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    known: OwnFigures = {} if seen is None else seen
    before = len(known)
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_NODE)
        rows = session.exec(
            select(RunEvent, Dataset, Run.study_code)
            .join(Run, col(Run.id) == col(RunEvent.run_id))
            .join(RunMember, col(RunMember.run_id) == col(Run.id))
            .join(Dataset, col(Dataset.id) == col(RunMember.dataset_id))
            .where(
                RunMember.hospital_id == hospital.id,
                RunEvent.party == training_party(hospital.slug),
                col(RunEvent.sealed).is_not(None),
            )
            .order_by(col(RunEvent.id))
        ).all()
        trust, now = app.trust(session), app.clock.now()
        for row, _, study in rows:
            if row.id not in known:
                known[row.id or 0] = open_figures(row, study=study, reader=app.identity, trust=trust, at=now)
        names = {dataset.id: open_name(app, dataset) for _, dataset, _ in rows}
    if len(known) > before:
        with session_scope(app.engine) as session:
            audit.append(app, session, actor, "node.read-figures", object_id="privacy")
    events: dict[str, list[RunEvent]] = {dataset: [] for dataset in names}
    for row, dataset, _ in rows:
        events[dataset.id].append(row)
    return [
        DatasetSpend(
            dataset,
            name,
            [spend for row in events[dataset] if (spend := _spend_of(row, known)) is not None],
            int(max((known[row.id or 0].get("unprotected", 0.0) for row in events[dataset]), default=0)),
        )
        for dataset, name in names.items()
    ]


def _spend_of(row: RunEvent, known: Mapping[int, Mapping[str, float]]) -> Spend | None:
    """Return what an event states of a private training, or None."""
    figures = known.get(row.id or 0, {})
    if "epsilon" not in figures:
        return None
    return Spend(
        at=row.at,
        run_id=row.run_id,
        round=row.round_number,
        epsilon=figures["epsilon"],
        delta=figures["delta"],
        unit=PrivacyUnit.PATIENT if figures["by_patient"] else PrivacyUnit.IMAGE,
        limit=figures["limit"],
    )
