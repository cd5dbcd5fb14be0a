"""Commands: verify an audit export, run the self-test, print the policy. None needs a database, a key or settings."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="HemaSeal security tools.")


@app.command("audit-verify")
def audit_verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Export or proof.")],
    root: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The authority's certificate (PEM).")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Heads that were kept (JSON lines).")
    ] = None,
    crl: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The authority's revocation list (DER).")
    ] = None,
    signer: Annotated[str, typer.Option(help="The one party that must have signed the log.")] = "",
) -> None:
    """Check an exported audit log, or a proof from it; names the first entry that was edited, deleted, added or moved.

    Exit status: 1 if it was changed, else 0. Only with --root does it also say who signed: without it a log that was
    written anew with other keys is consistent, too, and the answer says so. With --heads a log whose end was cut off,
    or that was signed a second time, is found even if its signer helped. `security/verify_audit.py` does the same
    alone, on a machine without this project.
    """
    from security.verify_audit import AuditBroken, describe, verify_file

    try:
        found = verify_file(file, root=root, heads=heads, crl=crl, signer=signer)
    except (AuditBroken, OSError, ValueError) as broken:
        typer.echo(f"NOT VERIFIED: {broken}", err=True)
        raise typer.Exit(1) from None
    typer.echo(describe(found))


@app.command("audit-countersign")
def audit_countersign(
    heads: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File of kept heads; it is written anew.")],
    keys: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with the party's key folder in it.")],
    party: Annotated[str, typer.Option(help="Who countersigns, for example north.training.")],
) -> None:
    """Countersign kept heads of the audit log with a party's own key: nobody can say later that it never saw them.

    The master key is that of HEMASEAL_MASTER_KEY, else of the file `master.key` beside the folder of keys.
    """
    import os

    from security.audit import countersigned
    from security.errors import SecurityError
    from security.identity import Identity, load_root
    from security.keys import KeyStore, MasterKey
    from security.verify_audit import Anchor, AuditBroken, read_kept

    try:
        master = MasterKey.load(secret=os.environ.get("HEMASEAL_MASTER_KEY"), file=keys.parent / "master.key")
        store = KeyStore(keys, party, master)
        witness, anchor = Identity.load(store), Anchor(load_root(store).parsed)
        kept = read_kept(heads.read_bytes().splitlines(), anchor)
    except (AuditBroken, SecurityError, ValueError) as broken:
        typer.echo(f"NOT COUNTERSIGNED: {broken}", err=True)
        raise typer.Exit(1) from None
    heads.write_bytes(b"".join(countersigned(one, witness=witness) for one in kept))
    typer.echo(f"{len(kept)} heads are countersigned by {party}, the last of {kept[-1].head.size} entries.")


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
