"""Commands by which people do at a terminal what pages let them do: sign in, then the same services, then sign out.

Who acts is named by ``--as`` and asked for the password (or it stands in ``HEMASEAL_PASSWORD``), and for a code where
the account has a second factor. Policy, limits and audit log are those of the pages.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args

import typer

from core.command_line import StudyName, progress_bar, study_named

if TYPE_CHECKING:
    from core.services.app import Actor, App
    from core.services.dataset_views import Portion
    from core.services.run_views import RunDetail

PASSWORD = "HEMASEAL_PASSWORD"  # noqa: S105 (the name of a variable)
POLL_S = 1.0
_SHOWN = ("auc", "sensitivity", "specificity", "loss")

commands = typer.Typer()
Name = TypeVar("Name", bound=StrEnum)


As = Annotated[str, typer.Option("--as", metavar="ACCOUNT", help="User name of who acts.")]


@commands.command("import")
def import_data(  # noqa: PLR0917 - typer makes them options
    folder: Annotated[Path, typer.Argument(help="Folder with index.csv, or with a folder for each class.")],
    account: As,
    study: StudyName = "leukemia",
    origin: Annotated[
        str, typer.Option(help="clinical, public or synthetic; plain mode refuses clinical ones.")
    ] = "clinical",
    name: Annotated[str, typer.Option(help="Name of the data set; sealed in the database.")] = "",
    share: Annotated[str, typer.Option(help="K/N: of the folder, divided into N, take part K; all by default.")] = "",
    divide: Annotated[
        str, typer.Option(help="With --share, by patients, site, dirichlet, quantity or stain.")
    ] = "patients",
    seed: Annotated[int, typer.Option(help="Fixes the division, and training, validation and test.")] = 0,
) -> None:
    """Import images as a data set of the account's hospital: checked, split by patient, sealed for its node."""
    from core.services import datasets  # noqa: PLC0415

    provenance = _one_of(datasets.Provenance, origin, "--origin")
    portion = _portion(share, divide, seed)
    with _signed_in(account) as (app, actor), progress_bar() as bar:
        task = bar.add_task("reading images", total=None)
        view = datasets.import_folder(
            app,
            actor,
            folder=folder,
            name=name,
            provenance=provenance,
            study=study_named(study),
            portion=portion,
            seed=seed,
            progress=lambda done, count: bar.update(task, completed=done, total=count),
        )
    parts = ", ".join(f"{sum(counts)} {part}" for part, counts in view.class_counts.items())
    typer.echo(f"{view.name}: {view.images} images of {view.patients} patients ({parts}), {view.provenance.value}")
    for one in view.refused_files:
        typer.echo(f"  left out: {one.path} ({one.reason})", err=True)


@commands.command("run")
def run_training(  # noqa: PLR0917 - typer makes them options
    account: As,
    study: StudyName = "leukemia",
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    local_epochs: Annotated[int, typer.Option(min=1, help="Epochs at each hospital in each round.")] = 1,
    mode: Annotated[str, typer.Option(help="How updates travel: blind, sealed or plain.")] = "blind",
    hospital: Annotated[
        list[str] | None, typer.Option(help="Short name of one that takes part; repeat it. All with data by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes first weights and shuffling.")] = 0,
) -> None:
    """Order a federated run over the newest data set of each hospital, and watch it to its end.

    Everything else is as on the page Training runs unless chosen there. Interrupted, the run goes on without the view.
    """
    from core.services import run_views, runs  # noqa: PLC0415

    travel = _one_of(runs.AggregationMode, mode, "--mode")
    with _signed_in(account, confirmed=True) as (app, actor):
        run = runs.start_run(
            app,
            actor,
            study=study_named(study).name,
            rounds=rounds,
            dataset_ids=_newest(app, actor, study, hospital),
            mode=travel,
            local_epochs=local_epochs,
            seed=seed,
        )
        typer.echo(f"run {run}: ordered, mode {travel.value}")
        started = runs.wake_worker(app, actor)
        detail = _watched(lambda: run_views.run_detail(app, actor, run))
        if started:
            runs.dismiss_worker(app)
    _conclude(detail)


@commands.command()
def promote(
    account: As,
    model: Annotated[str, typer.Argument(help="Its id; the newest candidate of the study by default.")] = "",
    study: StudyName = "leukemia",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a model into service: its signed lineage is checked, then it is sealed for the hospitals' enclaves."""
    from core.errors import NotFound  # noqa: PLC0415
    from core.services import models  # noqa: PLC0415

    with _signed_in(account, confirmed=True) as (app, actor):
        if not model:
            candidates = [
                view
                for view in models.list_models(app, actor)
                if view.study == study and view.status is models.CheckpointStatus.CANDIDATE
            ]
            if not candidates:
                raise NotFound("a candidate of this study")
            model = candidates[0].id
        view = models.model(app, actor, model)
        lineage = "its lineage holds" if view.verified else f"its lineage does not hold: {view.problem}"
        typer.echo(f"model {view.id}: {view.mode}, {len(view.members)} members, {_figures(view.metrics)}; {lineage}")
        if not yes:
            typer.confirm("Put it into service?", abort=True)
        models.promote(app, actor, view.id)
    typer.echo("in service; what patients send from now on is answered by it")


@commands.command()
def ask(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Pictures of one case.")],
    account: As,
    study: StudyName = "leukemia",
    place: Annotated[str, typer.Option(help="City of the bundled list, for the distance.")] = "",
    hospital: Annotated[str, typer.Option(help="Short name of the one that is wished for.")] = "",
) -> None:
    """Send pictures as a patient and print the preliminary answer: words first, then numbers."""
    from core.services import case_reading, cases  # noqa: PLC0415
    from core.services.plain_words import words_for  # noqa: PLC0415

    with _signed_in(account) as (app, actor):
        try:
            files = [image.read_bytes() for image in images]
            wish = None if not hospital else _ids_of(app, actor, [hospital])[0]
            sent = cases.submit(
                app, actor, files=files, study=study_named(study).name, place=place or None, preferred=wish
            )
            detail = case_reading.read_case(app, actor, sent.id)
        finally:
            app.supervisor.stop_all()
    words = words_for(case_reading.ListedCase(detail.case, detail.review, is_damaged=False))
    for line in (f"case {detail.case.number}, {detail.case.care.name}", words.headline, words.meaning, words.next_step):
        typer.echo(line)
    if (summary := detail.case.summary) is not None and detail.result is not None:
        typer.echo(
            f"probability {summary.positive_probability:.0%}, threshold {summary.threshold:.0%}, "
            f"model {detail.result.checkpoint_id}. Research use, not a medical device."
        )


@contextmanager
def _signed_in(username: str, *, confirmed: bool = False) -> "Iterator[tuple[App, Actor]]":
    """Sign somebody in for the block; `confirmed`: with a code too, where the account has a second factor."""
    from core.services import sessions, step_up  # noqa: PLC0415
    from core.services.app import App  # noqa: PLC0415
    from core.settings import Settings  # noqa: PLC0415

    app = App.start(Settings())
    try:
        password = os.environ.get(PASSWORD) or typer.prompt(f"Password of {username}", hide_input=True)
        token = sessions.redeem_code(app, sessions.check_password(app, username, password))
        try:
            actor = sessions.session_actor(app, token)
            if confirmed and step_up.second_factor(app, actor).enrolled:
                step_up.step_up(app, actor, typer.prompt("Code of the authenticator"))
            yield app, actor
        finally:
            sessions.sign_out(app, token)
    finally:
        app.engine.dispose()


def _one_of(names: type[Name], value: str, option: str) -> Name:
    try:
        return names(value)
    except ValueError:
        raise typer.BadParameter(f"one of {', '.join(names)}", param_hint=option) from None


def _portion(share: str, divide: str, seed: int) -> "Portion | None":
    """Return which part of a folder K/N means; None for all of it."""
    from core.services.datasets import Assignment, Portion  # noqa: PLC0415

    if not share:
        return None
    number, _, total = share.partition("/")
    if not (number.isdecimal() and total.isdecimal()):
        raise typer.BadParameter("for example 2/4: the second of four", param_hint="--share")
    how = next((known for known in get_args(Assignment) if known == divide), None)
    if how is None:
        raise typer.BadParameter(f"one of {', '.join(get_args(Assignment))}", param_hint="--divide")
    return Portion(how=how, hospitals=int(total), position=int(number) - 1, seed=seed)


def _newest(app: "App", actor: "Actor", study: str, slugs: list[str] | None) -> list[str]:
    """Return the id of the newest data set of each hospital that is named, or that has one."""
    from core.services import runs  # noqa: PLC0415

    wanted = _ids_of(app, actor, slugs) if slugs else None
    newest: dict[str, str] = {}
    for choice in runs.dataset_choices(app, actor):  # by hospital, the newest first
        if choice.study == study and (wanted is None or choice.hospital_id in wanted):
            newest.setdefault(choice.hospital_id, choice.id)
    if wanted and len(newest) < len(set(wanted)):
        raise typer.BadParameter("one of these has no data set of this study", param_hint="--hospital")
    return list(newest.values())


def _ids_of(app: "App", actor: "Actor", slugs: Sequence[str]) -> list[str]:
    """Return the ids of hospitals by their short names."""
    from core.services import members  # noqa: PLC0415

    ids = {view.slug: view.id for view in members.hospitals(app, actor)}
    if unknown := set(slugs) - set(ids):
        raise typer.BadParameter(f"no hospital is called {', '.join(sorted(unknown))}", param_hint="--hospital")
    return [ids[slug] for slug in slugs]


def _watched(look: "Callable[[], RunDetail]") -> "RunDetail":
    """Print each round as it is finished; return the run once it is no longer under way."""
    from core.services.runs import RunStatus  # noqa: PLC0415

    told = -1
    while True:
        detail = look()
        for one in detail.rounds:
            if one.finished and one.round > told:
                told = one.round
                figures = f"{len(one.members)} members, {_figures(one.metrics)}" if one.members else "first weights"
                typer.echo(f"round {one.round} of {detail.run.rounds}: {figures}")
        if detail.run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}:
            return detail
        time.sleep(POLL_S)


def _conclude(detail: "RunDetail") -> None:
    """Say how a run ended; exit status 1 unless it finished."""
    from core.services.runs import RunStatus  # noqa: PLC0415

    seconds = ", ".join(
        f"{name.removesuffix('_s')} {detail.totals[name]:.1f} s" for name in detail.totals if name.endswith("_s")
    )
    typer.echo(f"run {detail.run.id}: {detail.run.status.value} {detail.run.reason}".rstrip() + f" ({seconds})")
    if detail.run.status is not RunStatus.FINISHED:
        raise typer.Exit(1)


def _figures(metrics: Mapping[str, float]) -> str:
    """Return the global validation figures that everybody asks for first."""
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in _SHOWN if name in metrics)
