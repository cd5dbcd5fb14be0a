"""Commands: ``python -m core COMMAND``. What a command needs is imported when it runs, so that others stay fast."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.command_line import progress_bar, write_json
from core.errors import HemaSealError
from core.evaluation.commands import commands as evaluation
from core.terminal import commands

app = typer.Typer(
    help="HemaSeal: set up, serve, train together, evaluate, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(commands)
app.add_typer(evaluation)


@app.command()
def setup(
    demo_contents: Annotated[bool, typer.Option(help="In demo mode: times, data sets and a model as well.")] = True,
) -> None:
    """Make the installation ready: keys, database, authority, demo contents. Does nothing where all is there."""
    from core.services import setup as service
    from core.settings import Settings

    service.run(Settings(), say=print, demo_contents=demo_contents)


@app.command("send-mail")
def send_mail(
    attached: Annotated[bool, typer.Option(help="End when standard input ends, as the app has it.")] = False,
) -> None:
    """Send the e-mails that wait, until interrupted. The app starts this itself where a mail server is set."""
    from core.services import mail_process
    from core.settings import Settings

    mail_process.main(Settings(), attached=attached)


@app.command()
def serve(port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501) -> None:
    """Serve the app until it is stopped, as the settings say: over TLS, behind a proxy, or to this computer alone."""
    from core.services import serving
    from core.services.app import check_settings
    from core.settings import ROOT, Settings

    settings = Settings()
    check_settings(settings)
    print(f"HemaSeal starts at {'http' if settings.tls_cert is None else 'https'}://localhost:{port}", flush=True)
    os.chdir(ROOT)
    words = serving.command(settings, port)
    os.execve(words[0], words, serving.environment(settings, os.environ))  # noqa: S606  our own command


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
    """Certify the keys that a party made on its own machine (docs/how-to/several-machines.md)."""
    from core.services import issuing
    from core.settings import Settings

    root, granted = issuing.issue_certificates(Settings(), request.read_bytes(), fingerprint=fingerprint, days=days)
    out.write_bytes(granted)
    print(f"{out}: for the party; the root's fingerprint, to be read out to it, is {root}")


@app.command("issue-tls")
def issue_tls(
    request: Annotated[Path, typer.Option(help="Certificate request of the server (PKCS #10, PEM).")],
    host: Annotated[list[str], typer.Option(help="Name or address of the server; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the certificate and root.crt.")],
    name: Annotated[str, typer.Option(help="Name of the certificate's file, without .crt.")] = "superlink",
    days: Annotated[int, typer.Option(min=1, max=3650, help="Length of validity.")] = 90,
) -> None:
    """Certify a TLS server: the app, a proxy, Flower's SuperLink (docs/how-to/tls.md)."""
    from core.services import issuing
    from core.settings import Settings

    certificate, root = issuing.issue_tls(Settings(), request.read_bytes(), hosts=host, days=days)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.crt").write_bytes(certificate)
    (out / "root.crt").write_bytes(root)
    print(f"{out}: {name}.crt and root.crt")


@app.command("approve-measurement")
def approve_measurement(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Approve the installed program of the enclaves, as the authority does after an upgrade; other approvals end."""
    from core.services import approvals
    from core.settings import Settings

    settings = Settings()
    found = approvals.installed_view(settings)
    measurement = found.installed.sha256
    print(f"installed: {measurement}")
    if found.problem:
        print(f"what is approved in the database is not believed: {found.problem}")
    for one in found.differences:
        print(f"  {one.name}: approved {one.approved or '-'}, installed {one.installed or '-'}")
    if found.standing is approvals.Standing.APPROVED:
        print(f"it is approved already (list {found.number})")
        return
    if not yes:
        typer.confirm("Approve it, in place of what was approved before?", abort=True)
    print(f"approved under number {approvals.approve_installed(settings, measurement)}")


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
def backup(folder: Annotated[Path, typer.Argument(help="A folder that is empty or not there yet.")]) -> None:
    """Copy keys, database and sealed data sets into a folder; the app may run. The vault is mirrored apart from it.

    See docs/how-to/backup-and-restore.md: neither the master key nor the patients' keys are in it.
    """
    from core.clock import SystemClock
    from core.services import backup as service
    from core.settings import Settings

    made = service.backup(Settings(), folder, clock=SystemClock(), tell=print)
    print(f"Backup of {made.made_at}: {sum(made.rows.values())} rows, {len(made.files)} files, {made.bytes} bytes")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    vault: Annotated[Path | None, typer.Option(help="The mirror of the vault, where the vault itself is lost.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a backup where no installation is, erase again whom the vault knows as erased, and exchange all keys.

    The master key must be in its place. Every stored object is opened on the way and the audit log verified.
    """
    from core.clock import SystemClock
    from core.services import backup as service
    from core.services import setup as setting_up
    from core.settings import Settings

    settings = Settings()
    made = service.read(folder)
    if not yes:
        typer.confirm(f"Restore the backup of {made.made_at} and give every party new keys?", abort=True)
    service.restore(settings, folder, vault=vault, tell=print)
    setting_up.run(settings, clock=SystemClock(), say=print, demo_contents=False)
    rekey(new_root=False, yes=True)


@app.command()
def rekey(
    new_root: Annotated[bool, typer.Option(help="Exchange the root key, too: parties elsewhere enrol anew.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give every party here new keys after a compromise: stored objects come along, former certificates are revoked.

    Stop the app and the worker first. Runs under way are void and everybody signs in again. It can be stopped at any
    point; run it again and it goes on. See docs/security.md for what it does not cure.
    """
    from core.clock import SystemClock
    from core.services import rekey as service
    from core.services.rollover import Progress
    from core.settings import Settings

    if not yes:
        typer.confirm("Exchange the keys of the whole federation?", abort=True)

    def told(progress: Progress) -> None:
        if not progress.total or progress.done % 100 == 0:
            print(f"{progress.step}{f' ({progress.done} of {progress.total})' if progress.total else ''}")

    done = service.rekey(Settings(), new_root=new_root, clock=SystemClock(), tell=told)
    looked_at = ", ".join(f"{count} x {kind}" for kind, count in done.looked_at.items())
    print(f"New keys for {len(done.parties)} parties: {', '.join(done.parties)}")
    print(f"Stored objects: {looked_at}; could not be opened and left: {sum(done.damaged.values())}")
    print(f"Runs that are void: {done.voided}")
    if done.elsewhere:
        print(f"On other machines, to be enrolled or renewed from there: {', '.join(done.elsewhere)}")
    print(f"Fingerprint of the root: {done.root}")


@app.command()
def synthetic(
    out: Annotated[Path, typer.Option(help="Folder to write; it gets an index.csv.")],
    cells: Annotated[int, typer.Option(min=1, help="Number of images.")] = 240,
    seed: Annotated[int, typer.Option(help="Fixes everything that is drawn.")] = 0,
) -> None:
    """Draw synthetic single-cell smears, marked synthetic."""
    from core.imaging.synthetic import generate_mixed_dataset

    try:
        with progress_bar() as bar:
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
    with progress_bar() as bar:
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
    write_json(report, made.to_json())


def main() -> None:
    """Run a command; an error that people can meet is one line and exit status 1."""
    try:
        app()
    except HemaSealError as error:
        print(error.public_text, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
