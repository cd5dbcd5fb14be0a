"""Commands: ``python -m core COMMAND``. What a command needs is imported when it runs, so that others stay fast."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import HemaSealError

app = typer.Typer(
    help="HemaSeal: set up, evaluate, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]


@app.command()
def setup(
    demo_contents: Annotated[bool, typer.Option(help="In demo mode: times, data sets and a model as well.")] = True,
) -> None:
    """Make the installation ready: keys, database, authority, demo contents. Does nothing where all is there."""
    from core.services import setup as service
    from core.settings import Settings

    service.run(Settings(), say=print, demo_contents=demo_contents)


@app.command()
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
    with _progress() as bar:
        task = bar.add_task("judging images", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        result = judge(model, data, patients=patients, colour_patients=fitted_on, progress=told)
        beside = judge_external(model, external, labels=external_label or (), progress=told) if external else None
    Console().print(to_table(result, beside))
    _write(output, {**to_json(result, beside), "data": data.resolve().name, "part": part if split else None})


@app.command("export-checkpoint")
def export_checkpoint(
    checkpoint: Annotated[Path, typer.Option(help="Sealed checkpoint file.")],
    out: Annotated[Path, typer.Option(help="File to write; it must not exist.")],
    weights: Annotated[bool, typer.Option(help="With the weights, so that training can go on from it.")] = True,
) -> None:
    """Write a sealed checkpoint in clear. Whoever has that file has the model; the audit log says that it was made."""
    from core.clock import SystemClock
    from core.diagnosis.checkpoint_file import load_checkpoint
    from core.services.model_export import export
    from core.settings import Settings

    if out.exists():
        raise typer.BadParameter(f"{out} exists already", param_hint="--out")
    settings = Settings()
    model = load_checkpoint(checkpoint, settings=settings, at=SystemClock().now())
    export(settings, model if weights else model.without_weights(), out)
    print(f"{out}: {model.manifest.study}, run {model.manifest.run_id}, round {model.manifest.round}, in clear")


@app.command("issue-certificates")
def issue_certificates(
    request: Annotated[Path, typer.Option(help="The party's request.")],
    fingerprint: Annotated[str, typer.Option(help="Its fingerprint, as the party read it out.")],
    out: Annotated[Path, typer.Option(help="File for the party.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Length of validity.")] = 365,
) -> None:
    """Certify the keys that a party made on its own machine (docs/deploy.md)."""
    from core.services import issuing
    from core.settings import Settings

    root, granted = issuing.issue_certificates(Settings(), request.read_bytes(), fingerprint=fingerprint, days=days)
    out.write_bytes(granted)
    print(f"{out}: for the party; the root's fingerprint, to be read out to it, is {root}")


@app.command("issue-tls")
def issue_tls(
    request: Annotated[Path, typer.Option(help="Certificate request of the server (PKCS #10, PEM).")],
    host: Annotated[list[str], typer.Option(help="Name or address of the server; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for superlink.crt and root.crt.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Length of validity.")] = 90,
) -> None:
    """Certify a TLS server, such as Flower's SuperLink (docs/deploy.md)."""
    from core.services import issuing
    from core.settings import Settings

    certificate, root = issuing.issue_tls(Settings(), request.read_bytes(), hosts=host, days=days)
    out.mkdir(parents=True, exist_ok=True)
    (out / "superlink.crt").write_bytes(certificate)
    (out / "root.crt").write_bytes(root)
    print(f"{out}: superlink.crt and root.crt")


@app.command("recover-root")
def recover_root(
    shares: Annotated[Path, typer.Argument(help="File with one recovery share on each line.")],
) -> None:
    """Put the authority's lost root key back from people's shares and the recovery file in its folder."""
    from core.services import key_ceremony
    from core.settings import Settings

    found = key_ceremony.recover_root(Settings(), shares.read_text(encoding="utf-8").splitlines())
    print(f"The root key is back. Compare its fingerprint with the one you know: {found}")


@app.command()
def synthetic(
    out: Annotated[Path, typer.Option(help="Folder to write; it gets an index.csv.")],
    cells: Annotated[int, typer.Option(min=1, help="Number of images.")] = 240,
    seed: Annotated[int, typer.Option(help="Fixes everything that is drawn.")] = 0,
) -> None:
    """Draw synthetic single-cell smears, marked synthetic."""
    from core.imaging.synthetic import generate_mixed_dataset

    try:
        with _progress() as bar:
            task = bar.add_task("drawing cells", total=None)
            generate_mixed_dataset(
                out,
                cells=cells,
                seed=seed,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except OSError as error:
        print(f"{out} cannot be written: {error.strerror}.", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{out}: {cells} cells drawn, of synthetic patients at four synthetic laboratories")


@app.command()
def deidentify(
    place: Annotated[Path, typer.Argument(metavar="IN", help="DICOM file, or folder of them.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; beside the originals.")],
    report: Annotated[
        Path | None, typer.Option(help="Also write the report to this file; it names held back originals.")
    ] = None,
    with_burned_in: Annotated[
        bool, typer.Option("--with-burned-in", help="Also write files that say that their picture holds text.")
    ] = False,
) -> None:
    """Take the people out of DICOM files (basic profile of DICOM PS3.15). Pseudonyms come from the master key."""
    from core.imaging.deidentify_files import deidentify_files
    from core.services.app import load_master_key
    from core.settings import Mode, Settings
    from security.keys import hkdf

    settings = Settings()
    master = load_master_key(settings, create=settings.mode is Mode.DEMO)
    key = hkdf(master.passphrase_for("deidentification"), info=b"hemaseal/deidentify/1")
    with _progress() as bar:
        task = bar.add_task("de-identifying", total=None)
        made = deidentify_files(
            place,
            out,
            key=key,
            with_burned_in=with_burned_in,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{out}: {len(made.written)} files of {len(made.patients)} patients; attributes: {dict(made.counts)}")
    for path, reason in made.at_risk:
        print(f"  look at it before it leaves: {path} ({reason})")
    for path, reason in made.held_back:
        print(f"  held back: {path} ({reason})", file=sys.stderr)
    _write(report, made.to_json())


@app.command()
def respond(
    images: Annotated[Path, typer.Option(help="Folder of images; they are uploaded one after the other.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of uploads.")] = 200,
    checkpoint: Annotated[Path | None, typer.Option(help="Model file; the shipped one by default.")] = None,
    database_url: Annotated[str, typer.Option(help="An empty MySQL schema; a new SQLite file by default.")] = "",
    output: JsonOption = None,
) -> None:
    """Time uploads from file to stored result, in a throw-away installation (docs/results.md)."""
    from core.evaluation import respond as timing

    with _progress() as bar:
        task = bar.add_task("uploading", total=None)
        times = timing.respond(
            images,
            n,
            checkpoint=checkpoint or timing.SHIPPED_MODEL,
            database_url=database_url,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(
        f"{times.n} uploads on {times.engine}: p50 {times.p50_ms} ms, p95 {times.p95_ms} ms, first {times.cold_ms} ms"
    )
    for name, stage in times.stages.items():
        print(f"  {name:22}{stage.p50_ms:8.2f}{stage.p95_ms:8.2f}")
    _write(output, times.to_json())


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)


def _write(path: Path | None, figures: dict[str, object]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run a command; an error that people can meet is one line and exit status 1."""
    try:
        app()
    except HemaSealError as error:
        print(error.public_text, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
