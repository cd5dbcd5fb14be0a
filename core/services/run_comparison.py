"""Runs side by side, up to ten: what was ordered, where they differ, what came of it, by round and in the end."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from core.errors import CheckpointRefused, InvalidInput
from core.learning.run_figures import TASKS
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.models import CheckpointStatus, verified_lineage
from core.services.privacy_spend import describe
from core.services.run_views import RunDetail, RunView, run_detail
from db.engine import read_scope
from db.models import Checkpoint, Run

__all__ = ["MAX_COMPARED", "ComparedRun", "as_csv", "compare", "differing"]

MAX_COMPARED = 10
NONE = "none"

_LEFT_OUT = {"study", "mode", "rounds", "members", "draw", "order", "group", "start_from", "privacy"}
"""Of an order: what is no setting, or has a place of its own; `order` and `group` are the signed statements."""
_SETTINGS = {
    "minimum_members": "Hospitals that must finish a round",
    "architecture": "Network",
    "seed": "Seed",
    "clip": "Largest change of a weight (blind)",
    "training.epochs": "Local epochs",
    "training.batch": "Batch",
    "training.learning_rate": "Learning rate",
    "training.schedule": "Schedule of the learning rate",
    "training.label_smoothing": "Label smoothing",
    "training.weight_decay": "Weight decay",
    "training.dropout": "Dropout",
    "training.averaging": "Averaging of weights",
    "training.augment": "Augmentation",
    "training.copies": "Augmented copies",
    "training.proximal": "FedProx",
    "combining.rule": "Combining",
    "combining.malicious": "Hospitals taken for malicious",
    "combining.norm_bound": "Bound of an update's norm",
    "server.optimiser": "Server optimiser",
    "server.learning_rate": "Server learning rate",
    "round_rules.participation": "Share of hospitals asked",
    "round_rules.deadline_s": "Deadline (s)",
    "round_rules.tries": "Tries of a round",
    "round_rules.on_failure": "After a failed round",
    "round_rules.patience": "Rounds without progress until it stops",
}


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run in a comparison.

    Attributes:
        run: the run.
        hospitals: names of its hospitals.
        settings: title -> what was ordered, as text; the same titles in every run that is compared with it.
        curves: round -> validation figures of all hospitals together, of finished rounds from 1.
        final: the last of them; empty before the first round is finished.
        seconds: by task, over all parties and rounds.
        clock_s: seconds on the clock, all rounds.
        bytes_up: sent to the coordinator.
        bytes_down: sent by it.
        privacy: what the newest model's signed lineage states, in words; "" while there is no model.
        weights: first digits of the newest model's hash; "" while there is none.
        status: of the model that it left; None while it has left none.
    """

    run: RunView
    hospitals: tuple[str, ...]
    settings: dict[str, str]
    curves: dict[int, dict[str, float]]
    final: dict[str, float]
    seconds: dict[str, float]
    clock_s: float
    bytes_up: int
    bytes_down: int
    privacy: str
    weights: str
    status: CheckpointStatus | None


def compare(app: App, actor: Actor, run_ids: Sequence[str]) -> list[ComparedRun]:
    """Return runs side by side, in the order given.

    Raises:
        NotAuthorised: only the authority compares runs.
        InvalidInput: fewer than two, more than `MAX_COMPARED`, or one twice.
        NotFound: no such run.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.COMPARE_RUNS, Relation.ANY)
    if len(run_ids) > MAX_COMPARED:
        raise InvalidInput(f"at most {MAX_COMPARED} runs are compared at a time, not {len(run_ids)}")
    if len(set(run_ids)) < max(2, len(run_ids)):
        raise InvalidInput("choose two or more different runs")
    details = [run_detail(app, actor, run_id, with_own=False) for run_id in run_ids]
    with read_scope(app.engine) as session:
        options = [_flat(session.get_one(Run, run_id).options) for run_id in run_ids]
        ordered = {name for one in options for name in one}
        names = [name for name in dict.fromkeys((*_SETTINGS, *sorted(ordered))) if name in ordered]
        return [
            _compared(app, session, detail, {_title(name): one.get(name, NONE) for name in names})
            for detail, one in zip(details, options, strict=True)
        ]


def differing(compared: Sequence[ComparedRun]) -> list[str]:
    """Return the titles of the settings in which the runs are not all alike."""
    titles = compared[0].settings if compared else {}
    return [title for title in titles if len({one.settings[title] for one in compared}) > 1]


def as_csv(compared: Sequence[ComparedRun]) -> bytes:
    """Return the comparison as CSV (RFC 4180, UTF-8), a line for each run: state, settings, figures, time, bytes."""
    figures = sorted({name for one in compared for name in one.final})
    rows = [
        {
            "run": one.run.id,
            "ordered_at": one.run.created_at.isoformat(),
            "study": one.run.study,
            "mode": one.run.mode.value,
            "status": one.run.status.value,
            "rounds_ordered": one.run.rounds,
            "rounds_finished": one.run.rounds_done,
            "hospitals": "; ".join(one.hospitals),
            **{f"setting: {title}": value for title, value in one.settings.items()},
            **{f"figure: {name}": one.final.get(name, "") for name in figures},
            **{task: round(one.seconds[task], 3) for task in TASKS},
            "clock_s": round(one.clock_s, 3),
            "bytes_to_coordinator": one.bytes_up,
            "bytes_from_coordinator": one.bytes_down,
            "privacy": one.privacy,
            "weights_sha256_begins": one.weights,
            "model_status": one.status.value if one.status else "",
        }
        for one in compared
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _compared(app: App, session: Session, detail: RunDetail, settings: dict[str, str]) -> ComparedRun:
    curves = {one.round: one.metrics for one in detail.rounds if one.finished and one.round > 0}
    made = select(Checkpoint).where(Checkpoint.run_id == detail.run.id)
    newest = session.exec(made.order_by(col(Checkpoint.round_number).desc()).limit(1)).first()
    return ComparedRun(
        run=detail.run,
        hospitals=tuple(member.hospital for member in detail.members),
        settings=settings,
        curves=curves,
        final=curves[max(curves)] if curves else {},
        seconds={task: detail.totals[task] for task in TASKS},
        clock_s=sum(one.elapsed_s for one in detail.rounds),
        bytes_up=int(detail.totals["bytes_up"]),
        bytes_down=int(detail.totals["bytes_down"]),
        privacy="" if newest is None else _privacy(app, session, newest),
        weights="" if newest is None else newest.weights_sha256[:12],
        status=newest.status if newest is not None and newest.serving_blob_id else None,
    )


def _privacy(app: App, session: Session, row: Checkpoint) -> str:
    try:
        return describe(verified_lineage(app, session, row)[0].privacy)
    except CheckpointRefused as error:
        return f"unknown: the lineage does not hold ({error.detail})"


def _flat(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of an order with one level, as text."""
    found: dict[str, str] = {}
    for name, value in options.items():
        if name in _LEFT_OUT:
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{part}".rstrip("."): _text(inner) for part, inner in parts}
    privacy = options.get("privacy")
    found["privacy"] = NONE
    if isinstance(privacy, dict):
        found["privacy"] = f"noise {privacy['noise_multiplier']:g} times the clip {privacy['clip_norm']:g}"
    found["start_from"] = str(options.get("start_from") or "")[:12] or "new weights"
    return found


def _title(name: str) -> str:
    own = {"privacy": "Differential privacy", "start_from": "Begins with"}
    return _SETTINGS.get(name) or own.get(name) or name.replace("_", " ").replace(".", ": ").capitalize()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or NONE
    return f"{value:g}" if isinstance(value, float) else str(value)
