"""Commands: verify an audit export, run the self-test, print the policy. None needs a database, a key or settings."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="HemaSeal security tools.")


@app.command("audit-verify")
def audit_verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Export (JSON lines).")],
    root: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The authority's certificate (PEM).")
    ] = None,
    signer: Annotated[str, typer.Option(help="Party that must have signed the log.")] = "app",
) -> None:
    """Check an exported audit log; names the first entry that was edited, deleted, inserted or moved.

    Exit status: 1 if it was changed, else 0. Only with --root does it also say who signed: without it a log that was
    written anew with other keys is consistent, too, and the answer says so.
    """
    from security.audit_export import verify_export
    from security.certificates import Certificate
    from security.errors import SecurityError

    try:
        trusted = Certificate.from_pem(root.read_bytes()) if root else None
        log = verify_export(file, root=trusted, signer=signer)
    except SecurityError as broken:
        typer.echo(f"NOT VERIFIED: {broken}", err=True)
        raise typer.Exit(1) from None
    facts = f"{log.head.size} entries, signed by '{log.signer}' at {log.head.time.isoformat()}."
    if log.root_was_given:
        typer.echo(f"Verified: {facts}")
    else:
        typer.echo("Consistent, but the signer was not checked against a root certificate you hold (--root).")
        typer.echo(f"The file names {facts}\nIts own root key {log.root.fingerprint}")
    typer.echo(f"Tree root {log.head.root.hex()}")


@app.command("self-test")
def self_test() -> None:
    """Compare the three libraries with each other and with published answers."""
    from security.errors import SelfTestFailed
    from security.selftest import run_self_test

    try:
        run_self_test()
    except SelfTestFailed as failure:
        typer.echo(f"FAILED: {failure}", err=True)
        raise typer.Exit(1) from None
    typer.echo("PyCryptodome, cryptography and tinyec agree, and every known answer came out.")


@app.command("policy")
def policy() -> None:
    """Print who may do what, as a Markdown table."""
    from security.policy import as_markdown

    typer.echo(as_markdown(), nl=False)


if __name__ == "__main__":
    app()
