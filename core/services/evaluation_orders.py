"""Order an evaluation of a folder of this server, stop it, go on, remove it; another process does the work.

The images stay where they are. No member's patients may be among them, since attacks show the pictures they recover.
"""

import shutil
from pathlib import Path

from core.errors import DatasetRefused, InvalidInput
from core.evaluation.ordered import Order
from core.imaging.datasets import has_index
from core.services import audit, evaluation_process
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.datasets import checked_folder, may_import_folders
from core.services.evaluations import all_folders, folder_of, view_of
from core.studies import STUDIES
from db.engine import session_scope

__all__ = ["go_on", "may_import_folders", "order", "remove", "stop"]


def order(
    app: App, actor: Actor, *, folder: str | Path, study: str, full: bool, tables: bool, attacks: bool, is_public: bool
) -> str:
    """Have a folder of this server evaluated by another process; return the evaluation's name. Does not wait for it.

    Args:
        app: the application.
        actor: the authority.
        folder: with ``index.csv`` and images; where folders may be imported from (`datasets.import_folder`).
        study: what is asked of the images.
        full: the full profile, which takes hours; else the quick one.
        tables: make the tables of the papers.
        attacks: run the attack lab.
        is_public: the actor says that the images are public or drawn, and none is of a member's patient.

    Raises:
        NotAuthorised: only the authority evaluates, and only where folders may be imported by path.
        StepUpNeeded: the second factor was not confirmed.
        DatasetRefused: there is no such folder, or it has no index.
        InvalidInput: nothing is asked for, no such study, images that may be patients', or another one is under way.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EVALUATE, Relation.ANY)
        path = checked_folder(app.settings, folder)
        if not has_index(path):
            raise DatasetRefused("this folder has no index.csv")
        if study not in STUDIES or not (tables or attacks):
            raise InvalidInput("choose a study, and tables, attacks or both")
        if not is_public:
            raise InvalidInput("only public or drawn images are evaluated here, for attacks show what they recover")
        _require_idle(app)
        now = app.clock.now()
        name = f"{now:%Y%m%d-%H%M%S}-{study}"
        details = {"full": full, "tables": tables, "attacks": attacks}
        audit.append(app, session, actor, "evaluation.order", object_id=name, details=details)
    asked = Order(data=path, study=study, full=full, tables=tables, attacks=attacks, at=now)
    evaluation_process.launch(app.settings, app.settings.evaluation_dir / name, asked, clock=app.clock)
    return name


def go_on(app: App, actor: Actor, name: str) -> None:
    """Have another process do what is left of an evaluation that was stopped, failed, or lost its process.

    Raises:
        NotAuthorised: only the authority evaluates.
        StepUpNeeded: the second factor was not confirmed.
        NotFound: there is no such evaluation.
        DatasetRefused: its images are not there any more, or may not be read.
        InvalidInput: nothing is left to do, or another one is under way.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EVALUATE, Relation.ANY)
        folder = folder_of(app, name)
        view = view_of(folder)
        if view.order is None or not view.may_go_on:
            raise InvalidInput("nothing is left to do there")
        checked_folder(app.settings, view.order.data)
        _require_idle(app)
        audit.append(app, session, actor, "evaluation.go-on", object_id=name)
    evaluation_process.launch(app.settings, folder, None, clock=app.clock)


def stop(app: App, actor: Actor, name: str) -> None:
    """Ask the process of an evaluation to end; what is finished stays, and it can go on later.

    Raises:
        NotAuthorised: only the authority evaluates.
        StepUpNeeded: the second factor was not confirmed.
        NotFound: there is no such evaluation.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EVALUATE, Relation.ANY)
        folder = folder_of(app, name)
        audit.append(app, session, actor, "evaluation.stop", object_id=name)
    evaluation_process.stop(folder)


def remove(app: App, actor: Actor, name: str) -> None:
    """Delete an evaluation with all that came of it.

    Raises:
        NotAuthorised: only the authority evaluates.
        StepUpNeeded: the second factor was not confirmed.
        NotFound: there is no such evaluation.
        InvalidInput: a process works on it.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EVALUATE, Relation.ANY)
        folder = folder_of(app, name)
        if view_of(folder).is_moving:
            raise InvalidInput("stop it first")
        audit.append(app, session, actor, "evaluation.remove", object_id=name)
    shutil.rmtree(folder)


def _require_idle(app: App) -> None:
    if any(view_of(folder).is_moving for folder in all_folders(app)):
        raise InvalidInput("another evaluation is under way; stop it first, or wait until it is finished")
