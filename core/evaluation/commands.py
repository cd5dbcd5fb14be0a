"""Commands that measure: ``python -m core evaluate``, ``respond``, ``tables``, ``attacks`` and ``present``.

What a command needs is imported when it runs, so that others stay fast.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.command_line import JsonOption, StudyName, progress_bar, study_named, write_json

commands = typer.Typer()


@commands.command()
def evaluate(  # noqa: PLR0917 - typer makes them options
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint file, sealed for this installation's authority or clear.")
    ],
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv and images.")],
    output: JsonOption = None,
    split: Annotated[
        Path | None, typer.Option(help="split.json of a simulation; only one part of it is judged.")
    ] = None,
    part: Annotated[str, typer.Option(help="training, validation or test; with --split.")] = "test",
    external: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of images without a positive class.")
    ] = None,
    external_label: Annotated[
        list[str] | None, typer.Option(help="Only images of this label of it; may be repeated.")
    ] = None,
) -> None:
    """Judge a checkpoint on a folder of images, on the way that serving takes (LiteRT; docs/results.md).

    With a split, colour histograms alone are judged on the same images too, fitted on the split's training patients.
    """
    from rich.console import Console

    from core.clock import SystemClock
    from core.diagnosis.checkpoint_file import load_checkpoint
    from core.evaluation.evaluate import evaluate as judge
    from core.evaluation.evaluate import read_split
    from core.evaluation.external import judge_external
    from core.evaluation.report import to_json, to_table
    from core.imaging.datasets import Part
    from core.settings import Settings

    if part not in list(Part):
        raise typer.BadParameter(f"{part} is none of {', '.join(Part)}", param_hint="--part")
    patients = read_split(split, Part(part)) if split else None
    fitted_on = read_split(split, Part.TRAINING) if split and part != Part.TRAINING else []
    model = load_checkpoint(checkpoint, settings=Settings(), at=SystemClock().now())
    with progress_bar() as bar:
        task = bar.add_task("judging images", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        result = judge(model, data, patients=patients, colour_patients=fitted_on, progress=told)
        beside = judge_external(model, external, labels=external_label or (), progress=told) if external else None
    Console().print(to_table(result, beside))
    write_json(output, {**to_json(result, beside), "data": data.resolve().name, "part": part if split else None})


@commands.command()
def respond(
    images: Annotated[Path, typer.Option(help="Folder of images; they are uploaded one after the other.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of uploads.")] = 200,
    checkpoint: Annotated[Path | None, typer.Option(help="Model file; the shipped one by default.")] = None,
    database_url: Annotated[str, typer.Option(help="An empty MySQL schema; a new SQLite file by default.")] = "",
    output: JsonOption = None,
) -> None:
    """Time uploads from file to stored result, in a throw-away installation (docs/results.md)."""
    from core.evaluation import respond as timing
    from core.evaluation.throwaway import SHIPPED_MODEL

    with progress_bar() as bar:
        task = bar.add_task("uploading", total=None)
        times = timing.respond(
            images,
            n,
            checkpoint=checkpoint or SHIPPED_MODEL,
            database_url=database_url,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(
        f"{times.n} uploads on {times.engine}: p50 {times.p50_ms} ms, p95 {times.p95_ms} ms, first {times.cold_ms} ms"
    )
    for name, stage in times.stages.items():
        print(f"  {name:22}{stage.p50_ms:8.2f}{stage.p95_ms:8.2f}")
    write_json(output, times.to_json())


@commands.command()
def tables(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv and images.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables; a folder that was begun is gone on with.")],
    study: StudyName = "leukemia",
    full: Annotated[
        bool, typer.Option("--full/--quick", help="All images, the recipe's rounds and three seeds, over night.")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Model of the table of metrics; the study's shipped one by default.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="split.json of that model's training; its test part is judged.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Only this seed's trainings: processes with a seed each share OUT, and the command without it ends it."
        ),
    ] = None,
) -> None:
    """Make the tables of both papers on a data set, with intervals, and a report (docs/results.md)."""
    from core.evaluation.tables.profile import FULL, QUICK
    from core.evaluation.tables.question import Question
    from core.evaluation.tables.run import make_tables, train_seed
    from core.evaluation.tables.screen import Screen

    profile = FULL if full else QUICK
    if seed is not None and seed not in profile.seeds:
        raise typer.BadParameter(f"seeds are {', '.join(map(str, profile.seeds))}", param_hint="--seed")
    with Screen() as screen:
        question = Question.ask(
            data=data,
            study=study_named(study),
            profile=profile,
            checkpoint=checkpoint,
            split=split,
            say=screen.say,
        )
        if seed is not None:
            train_seed(question, seed, out, say=screen.say, begun=screen.begun)
            return
        report = make_tables(question, out, say=screen.say, begun=screen.begun)
    print(report)


@commands.command()
def attacks(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv and images.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; what is there already is not tried again.")],
    study: StudyName = "leukemia",
    quick: Annotated[bool, typer.Option("--quick/--full", help="How often each attack is tried.")] = True,
    only: Annotated[list[str] | None, typer.Option(help="Only this attack; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes everything that is drawn but keys and masks.")] = 0,
) -> None:
    """Attack what a cloud, a thief, a poisoning hospital and a stranger see; count successes (docs/results.md)."""
    from rich.console import Console

    from core.evaluation.attacks import lab
    from core.evaluation.attacks.bench import FULL, QUICK
    from core.evaluation.attacks.report import to_table

    unknown = set(only or ()) - set(lab.ATTACKS)
    if unknown:
        raise typer.BadParameter(f"known attacks are {', '.join(lab.ATTACKS)}", param_hint="--only")
    with progress_bar() as bar:
        task = bar.add_task("attacking", total=None)
        found = lab.run(
            data,
            study_named(study),
            out,
            profile=QUICK if quick else FULL,
            seed=seed,
            only=only or (),
            say=lambda text, done, total: bar.update(task, description=text, completed=done, total=total),
        )
    for table in to_table(found):
        Console().print(table)


@commands.command()
def present(
    steps: Annotated[list[str] | None, typer.Argument(help="Steps to play; all of them by default.")] = None,
    events: Annotated[
        Path | None, typer.Option(help="Folder for the events in place of the terminal, as the page has it.")
    ] = None,
) -> None:
    """Play the demonstration of presenter mode; every figure in it is computed now, with throw-away keys."""
    from core.clock import SystemClock
    from core.evaluation.demonstration import terminal
    from core.evaluation.demonstration.journal import Journal, Removed, hold
    from core.evaluation.demonstration.perform import perform
    from core.evaluation.demonstration.script import StepName

    try:
        chosen = [StepName(step) for step in steps or StepName]
    except ValueError:
        raise typer.BadParameter(f"known steps are {', '.join(StepName)}", param_hint="STEPS") from None
    if events is None:
        if terminal.present(chosen):
            raise typer.Exit(1)
        return
    try:
        with hold(events):
            perform(chosen, Journal(events, clock=SystemClock()))
    except Removed:
        print("The demonstration was reset.", file=sys.stderr)
