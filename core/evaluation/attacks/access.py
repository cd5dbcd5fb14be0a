"""Everybody's forbidden acts at the gate that all services pass, in an installation with real accounts and a real log.

That every service asks this gate, and what each refuses, is held by ``tests/integration/test_policy_matrix.py``.
"""

import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

from sqlmodel import select

from core.errors import HemaSealError
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.result import Attacked, Figure, View
from core.evaluation.throwaway import accounts_installation
from core.services.app import Actor, App
from core.services.audit import Outcome, list_entries
from core.services.authorise import authorise
from core.services.sessions import actor_of
from db.engine import read_scope
from db.models import User
from security.policy import AUTHORITY, STEP_UP, Action, Relation, is_allowed

NAME = "access"
_ALL = 10**6


def attack(bench: Bench) -> list[Attacked]:
    """Try every act on every relation as every account of a demo installation."""
    with (
        tempfile.TemporaryDirectory(prefix="hemaseal-attacks-") as folder,
        accounts_installation(Path(folder) / "var") as app,
    ):
        with read_scope(app.engine) as session:
            people = [actor_of(app, user) for user in session.exec(select(User)).all()]
        cells = list(product(people, Action, Relation))
        allowed, refused, forbidden = 0, Counter[tuple[str, str]](), 0
        for number, (person, action, relation) in enumerate(cells):
            bench.say("trying forbidden acts", number, len(cells))
            passes = _passes(app, person, action, relation)
            if is_allowed(person.role.value, action, relation):
                allowed += passes or action in STEP_UP
                continue
            forbidden += 1
            refused[person.user_id, f"refused.{action.value}"] += not passes
        keeper = next(person for person in people if person.role.value == AUTHORITY)
        entries = list_entries(app, keeper, outcome=Outcome.REFUSED, limit=_ALL)
        logged = Counter((entry.actor, entry.action) for entry in entries)
    kept = sum(min(count, logged[act]) for act, count in refused.items())
    return [
        Attacked(
            attack=NAME,
            adversary="every account",
            view=View.SERVICES,
            figure=Figure.ACCESS,
            trials=forbidden,
            successes=forbidden - kept,
            figures={
                "accounts": len(people),
                "let through": forbidden - refused.total(),
                "refused and in the log": kept,
                "control, allowed acts that pass or ask for a second factor": f"{allowed} of {len(cells) - forbidden}",
            },
            seed=bench.seed,
        )
    ]


def _passes(app: App, person: Actor, action: Action, relation: Relation) -> bool:
    try:
        with read_scope(app.engine) as session:
            authorise(app, session, person, action, relation)
    except HemaSealError:
        return False
    return True
