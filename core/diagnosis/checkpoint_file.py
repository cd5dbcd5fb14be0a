"""A model as a file: sealed for the authority (as a federated run leaves it) or, by an explicit act, in clear."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from core.diagnosis.bundle import ServingModel
from core.diagnosis.codec import TRAVELS, Codec
from core.errors import CheckpointRefused, SettingsError
from core.settings import Settings
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.errors import CertificateRefused, KeyMissing, SealBroken
from security.identity import Identity, load_root
from security.keys import KeyStore, MasterKey
from security.sealing import open_sealed, seal

FORMAT = "hemaseal-checkpoint"
VERSION = 1
AUTHORITY = "authority"


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """What a checkpoint file holds: a header in clear and the model, sealed or in clear.

    Attributes:
        study: name of the study.
        run: id of the run.
        round: round of the run.
        sender: party that sealed it; empty for a file in clear.
        sealed: sealed `ServingModel`, bound to study, run and sender; None for a file in clear.
        clear: `ServingModel.encode()`; None for a sealed file.
    """

    format: str = FORMAT
    version: int = VERSION
    study: str
    run: str
    round: int
    sender: str = ""
    sealed: bytes | None = field(default=None, repr=False)
    clear: bytes | None = field(default=None, repr=False)

    __pydantic_config__: ClassVar = TRAVELS


def model_context(*, study: str, run: str, sender: str) -> Context:
    """Return the context to which a sealed serving model is bound."""
    return Context(purpose=Purpose.SERVING_MODEL, study=study, sender=sender, object_id=run, run=run)


def seal_model(model: ServingModel, *, sender: Identity, recipients: list[Certificate]) -> bytes:
    """Seal a model for enclaves, members or the authority, bound to its study, run and sender."""
    context = model_context(study=model.manifest.study, run=model.manifest.run_id, sender=sender.party)
    return seal(model.encode(), sender=sender, recipients=recipients, context=context)


def open_model(
    sealed: bytes, *, recipient: Identity, trust: Trust, study: str, run: str, sender: str, at: datetime
) -> ServingModel:
    """Open what `seal_model` made.

    Raises:
        CheckpointRefused: changed, sealed for somebody else, by somebody else, or for another study or run.
    """
    try:
        context = model_context(study=study, run=run, sender=sender)
        data = open_sealed(sealed, recipient=recipient, trust=trust, context=context, sender=sender, at=at)
    except (SealBroken, CertificateRefused, ValueError) as error:
        raise CheckpointRefused("its seal does not hold for this run") from error
    model = ServingModel.decode(data)
    if (model.manifest.study, model.manifest.run_id) != (study, run):
        raise CheckpointRefused("it belongs to another run")
    return model


def write_sealed(path: Path, sealed: bytes, *, study: str, run: str, round_number: int, sender: str) -> None:
    """Write a sealed model with the header that is needed to open it."""
    file = CheckpointFile(study=study, run=run, round=round_number, sender=sender, sealed=sealed)
    path.write_bytes(_CODEC.encode(file))


def write_clear(path: Path, model: ServingModel) -> None:
    """Write a model in clear: anybody who has the file has the model."""
    manifest = model.manifest
    file = CheckpointFile(study=manifest.study, run=manifest.run_id, round=manifest.round, clear=model.encode())
    path.write_bytes(_CODEC.encode(file))


def read_file(path: Path) -> CheckpointFile:
    """Read a checkpoint file without opening its seal.

    Raises:
        CheckpointRefused: there is no such file, or it is something else.
    """
    try:
        file = _CODEC.decode(path.read_bytes())
    except OSError as error:
        raise CheckpointRefused(f"{path.name} cannot be read") from error
    except ValueError as error:
        raise CheckpointRefused(f"{path.name} is not a checkpoint file") from error
    if (file.format, file.version) != (FORMAT, VERSION) or (file.sealed is None) == (file.clear is None):
        raise CheckpointRefused(f"{path.name} is not a checkpoint file of version {VERSION}")
    return file


def load_checkpoint(path: Path, *, settings: Settings, at: datetime) -> ServingModel:
    """Return the model of a file; a sealed one is opened with the authority's key of these settings.

    Raises:
        CheckpointRefused: damaged, changed, or sealed for another run or authority.
        SettingsError: the file is sealed and these settings hold no authority.
    """
    file = read_file(path)
    if file.clear is not None:
        model = ServingModel.decode(file.clear)
        if (model.manifest.study, model.manifest.run_id, model.manifest.round) != (file.study, file.run, file.round):
            raise CheckpointRefused("it belongs to another run")
        return model
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    try:
        master = MasterKey.load(secret=secret, file=settings.master_key_file)
        store = KeyStore(settings.keys_dir, AUTHORITY, master)
        recipient, trust = Identity.load(store), Trust(load_root(store))
    except (KeyMissing, CertificateRefused) as error:
        raise SettingsError(f"the file is sealed for the authority: {error}") from error
    sealed = file.sealed or b""
    model = open_model(
        sealed, recipient=recipient, trust=trust, study=file.study, run=file.run, sender=file.sender, at=at
    )
    if model.manifest.round != file.round:
        raise CheckpointRefused("it belongs to another round")
    return model


_CODEC = Codec(CheckpointFile)
