"""A data set as a file (safetensors; nothing executable in it), sealed for the hospital's training party.

It is written and read piece by piece, so that memory does not grow with the number of images.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from core.errors import DatasetRefused
from core.imaging.arrays import DatasetArrays
from core.imaging.tensor_file import Readable, TensorFile, with_squares
from core.studies import Study
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.errors import SealBroken
from security.identity import Identity
from security.sealed_files import SealedFile, seal_file
from security.sealing import handed_over, renewed

FORMAT = "hemaseal-dataset-2"
NOT_CLINICAL = ("synthetic", "public")


class Archive(NamedTuple):
    """A data set as it was sealed.

    Attributes:
        arrays: its images with labels, patients and parts.
        provenance: what the images are, as the hospital stated on import: synthetic, public or clinical.
    """

    arrays: DatasetArrays
    provenance: str

    @property
    def clinical(self) -> bool:
        """Whether the images are of real patients: all that are not known to be something else."""
        return self.provenance not in NOT_CLINICAL


def encode_archive(archive: Archive, study: Study) -> Iterator[bytes]:
    """Yield the pieces of a file; its metadata names format, preprocessing of the study, and provenance of the images.

    Pseudonyms of patients are in it too, so these bytes never leave memory unsealed.
    """
    arrays = archive.arrays
    names = sorted(set(arrays.patients))
    position = {name: number for number, name in enumerate(names)}
    metadata = {
        "format": FORMAT,
        "preprocessing": study.preprocessing.version,
        "provenance": archive.provenance,
        "patients": json.dumps(names, ensure_ascii=False),
    }
    small: dict[str, NDArray[Any]] = {
        "labels": np.ascontiguousarray(arrays.labels),
        "parts": np.ascontiguousarray(arrays.parts),
        "patients": np.array([position[name] for name in arrays.patients], np.int32),
    }
    yield from with_squares(save(small, metadata), "images", arrays.images)


def decode_archive(file: Readable, study: Study) -> Archive:
    """Decode what `encode_archive` made for the same study; its images are read when they are asked for.

    Raises:
        DatasetRefused: not such an archive, damaged, or made with another preprocessing than the study now asks for.
            Images raise it too where the file has changed since.
    """
    try:
        content = TensorFile.open(file)
        metadata, images = content.metadata, content.squares("images")
        labels, parts = content.whole("labels", "I64"), content.whole("parts", "U8")
        names = json.loads(metadata["patients"])
        patients = tuple(str(names[number]) for number in content.whole("patients", "I32"))
    except (SealBroken, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise DatasetRefused("the stored data set is damaged") from error
    if metadata.get("format") != FORMAT or metadata.get("preprocessing") != study.preprocessing.version:
        raise DatasetRefused("the stored data set was prepared in another way; import it again")
    arrays = DatasetArrays(images=images, labels=labels, patients=patients, parts=parts)
    return Archive(arrays, str(metadata.get("provenance")))


def seal_dataset(
    file: Path, archive: Archive, *, sender: Identity, recipient: Certificate, study: Study, dataset_id: str
) -> None:
    """Seal a data set into a file, whole or not at all, so that only the hospital's training party can open it.

    Args:
        file: where.
        archive: the data set.
        sender: who imported it: the application.
        recipient: the sealing certificate of ``<slug>.training``, checked by the caller.
        study: whose images these are.
        dataset_id: id of its row; a file that is put under another id does not open.

    Raises:
        OSError: the file cannot be written.
    """
    context = dataset_context(sender.party, study, dataset_id)
    seal_file(file, encode_archive(archive, study), sender=sender, recipients=[recipient], context=context)


def open_dataset(
    file: Path, *, node: Identity, trust: Trust, study: Study, dataset_id: str, at: datetime, sender: str = "app"
) -> Archive:
    """Open what `seal_dataset` made, at the hospital's training node; its images are decrypted as they are needed.

    Raises:
        DatasetRefused: sealed for another party, study or id, changed, or not a data set of this version.
        OSError: the file cannot be read.
    """
    context = dataset_context(sender, study, dataset_id)
    try:
        stored = trust.for_stored()
        opened = SealedFile.open(file, recipient=node, trust=stored, context=context, sender=sender, at=at)
    except SealBroken:
        raise DatasetRefused("the sealed file does not open: it was changed or is not for this node") from None
    return decode_archive(opened, study)


def rewrap_dataset(
    sealed: bytes,
    *,
    node: Identity,
    sealed_under: Trust,
    trust: Trust,
    study: Study,
    dataset_id: str,
    at: datetime,
    sender: str = "app",
) -> bytes:
    """Return a data set for the keys that its node has now; the node vouches to itself that it opened it before.

    Args:
        sealed: what `seal_dataset` made, or this function.
        node: the hospital's training party, its former keys included.
        sealed_under: root and revocation list by which it holds so far.
        trust: root and list in force, by which the node's own certificate holds.
        study: whose images these are.
        dataset_id: id of its row.
        at: now.
        sender: who imported it.

    Raises:
        SealBroken: it does not open for this node.
        CertificateRefused: the node's own certificate does not hold.
    """
    context, recipients = dataset_context(sender, study, dataset_id), [node.sealing_certificate]
    block = handed_over(
        sealed,
        holder=node,
        recipients=recipients,
        trust=sealed_under.for_stored(),
        new_trust=trust,
        context=context,
        sender=sender,
        at=at,
    )
    return renewed(sealed, block, signer=node, recipients=recipients, context=context)


def dataset_context(sender: str, study: Study, dataset_id: str) -> Context:
    """Return what a sealed data set is bound to."""
    return Context(purpose=Purpose.DATASET, study=study.name, sender=sender, object_id=dataset_id)
