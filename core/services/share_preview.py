"""What a run would have a hospital send, told before it is sent: shapes, sizes, clipping, noise, and who can read it.

Everything here follows from the authority's signed order, which the hospital's own node obeys too; nothing of the
hospital's images or weights is opened for it.
"""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from core.errors import NotFound
from core.learning.fixed_point import FIGURES_WORD, WordFormat
from core.learning.metric_sums import length_of
from core.learning.orders import AggregationMode, RunOptions, training_party
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import EventKind
from core.learning.variables import parameters_of, variables_of
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.own_hospital import own_hospital
from core.services.privacy_spend import PlanCost, plan_cost
from core.services.run_orders import signed_order
from core.studies import STUDIES_BY_CODE, Study
from db.engine import read_scope
from db.models import Run, RunEvent, RunMember

__all__ = ["NEVER", "Leaving", "SentBefore", "SharePreview", "Tensor", "preview"]

_FLOAT = 4
_WORDS = {
    AggregationMode.BLIND: "masked words",
    AggregationMode.SEALED: "sealed numbers",
    AggregationMode.PLAIN: "numbers in clear",
}
_READERS = {
    AggregationMode.BLIND: "nobody: only the sum over all hospitals can be read, and only by the hospitals",
    AggregationMode.SEALED: "the aggregation enclave",
    AggregationMode.PLAIN: "the cloud and the aggregation enclave",
}
NEVER = (
    "images, whole or in part, and anything computed from one image alone",
    "labels, and who the patients are: pseudonyms stay in the sealed data set",
    "private keys, and the weights as they stand after your own training",
)


@dataclass(frozen=True)
class Tensor:
    """One variable of an update: its name, its shape, and how many numbers that is."""

    name: str
    shape: tuple[int, ...]
    numbers: int


@dataclass(frozen=True)
class Leaving:
    """One thing that leaves.

    Attributes:
        what: in plain words.
        form: how it travels.
        readers: who can read it.
        size: bytes in each round, or None for what is small and varies.
        when: how often.
    """

    what: str
    form: str
    readers: str
    size: int | None
    when: str


@dataclass(frozen=True)
class SentBefore:
    """What the node has sent in a round of this run, in bytes and messages, as the coordinator counted it."""

    round: int
    messages: int
    size: int


@dataclass(frozen=True)
class SharePreview:
    """What a run has a hospital send.

    Attributes:
        mode: how updates travel.
        architecture: the network.
        tensors: the variables of an update, in their order.
        parameters: numbers in them.
        leaves: everything that leaves.
        words: the format of blind words; None in other modes.
        images: the largest weight that the update may claim: images of the training part.
        privacy: differential privacy of the order, or None.
        cost: what the whole run costs a data set that has spent nothing before; None without privacy.
        rounds: rounds of the order.
        sent: the newest finished round in which the node took part; None before one.
    """

    mode: AggregationMode
    architecture: str
    tensors: tuple[Tensor, ...]
    parameters: int
    leaves: tuple[Leaving, ...]
    words: WordFormat | None
    images: int
    privacy: PrivacyOptions | None
    cost: PlanCost | None
    rounds: int
    sent: SentBefore | None


def preview(app: App, actor: Actor, run_id: str) -> SharePreview:
    """Return what a run has the actor's hospital send.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        NotFound: the hospital does not take part in this run.
        RecordDamaged: the stored order is not the authority's.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_NODE, object_id=run_id)
        run = session.get(Run, run_id)
        if run is None or session.get(RunMember, (run_id, hospital.id)) is None:
            raise NotFound
        order, party = signed_order(app, session, run), training_party(hospital.slug)
        sent = _sent_before(session, run_id, party)
    if party not in order.parties:  # a row that somebody added: the order does not know the hospital
        raise NotFound
    return _preview(order, party, STUDIES_BY_CODE[order.study], sent)


def _preview(order: RunOptions, party: str, study: Study, sent: SentBefore | None) -> SharePreview:
    shapes = variables_of(order.architecture, study)
    tensors = tuple(Tensor(name, shape, parameters_of({name: shape})) for name, shape in shapes.items())
    blind = order.mode is AggregationMode.BLIND
    words = WordFormat.for_members(order.asked, clip=order.clip) if blind else None
    privacy = order.privacy
    return SharePreview(
        mode=order.mode,
        architecture=order.architecture,
        tensors=tensors,
        parameters=parameters_of(shapes),
        leaves=tuple(_leaves(order, study, parameters_of(shapes), words)),
        words=words,
        images=order.member(party).images,
        privacy=privacy,
        cost=plan_cost(privacy, epochs=order.training.epochs, rounds=order.rounds) if privacy else None,
        rounds=order.rounds,
        sent=sent,
    )


def _leaves(order: RunOptions, study: Study, parameters: int, words: WordFormat | None) -> list[Leaving]:
    form, readers, figures = _WORDS[order.mode], _READERS[order.mode], length_of(len(study.classes))
    number = _FLOAT if words is None else words.word // 8
    every = "each round"
    found = [
        Leaving(
            "Update: how much each weight changed in your training, and the number of images behind it",
            form,
            readers,
            number * (parameters + 1),
            every,
        ),
        Leaving(
            "Validation sums: counts of right and wrong answers and summed losses over your validation images",
            form,
            readers,
            FIGURES_WORD // 8 * figures,
            every,
        ),
        Leaving(
            "Own figures: a few means over your training and validation images (loss, accuracy, AUC, seconds)",
            "sealed",
            "you, the trusted authority, this application",
            None,
            every,
        ),
        Leaving("Sizes and times of your messages", "in clear", "the cloud", None, every),
    ]
    if words is not None:
        found += [
            Leaving(
                "One-time keys and shares of their secrets, for hospitals that drop out",
                "signed; shares encrypted for one hospital each",
                "that hospital",
                None,
                every,
            ),
            Leaving(
                "Statements: who took part, that the sum is right, which model came out",
                "signed",
                "everybody",
                None,
                every,
            ),
        ]
    if order.privacy is not None:
        found.append(
            Leaving("Privacy statement: epsilon, delta and noise of your training", "signed", "everybody", None, every)
        )
    found.append(
        Leaving(
            "The finished model, the same at every hospital, and your word that it is",
            "sealed; signed",
            "the trusted authority",
            None,
            "once, at the end",
        )
    )
    return found


def _sent_before(session: Session, run_id: str, party: str) -> SentBefore | None:
    """Count the node's messages of its newest finished round; of several attempts all count, since all were sent."""
    finished = select(RunEvent.round_number).where(
        RunEvent.run_id == run_id, RunEvent.kind == EventKind.ROUND_FINISHED.value, RunEvent.round_number > 0
    )
    rows = session.exec(
        select(RunEvent)
        .where(
            RunEvent.run_id == run_id,
            RunEvent.party == party,
            RunEvent.kind == EventKind.ANSWERED.value,
            col(RunEvent.round_number).in_(finished),
        )
        .order_by(col(RunEvent.round_number))
    ).all()
    if not rows:
        return None
    newest = [row for row in rows if row.round_number == rows[-1].round_number]
    sizes = [row.payload.get("bytes_in", 0) for row in newest]
    return SentBefore(rows[-1].round_number, len(newest), sum(size for size in sizes if isinstance(size, int)))
