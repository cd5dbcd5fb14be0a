"""A data set as bytes (safetensors; nothing executable in it), sealed for the hospital's training party."""

import json
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import DatasetRefused
from core.imaging.arrays import DatasetArrays
from core.studies import Study
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.errors import SealBroken
from security.identity import Identity
from security.sealing import handed_over, open_sealed, renewed, seal

FORMAT = "hemaseal-dataset-2"
HEADER_LENGTH = 8
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


def encode_archive(archive: Archive, study: Study) -> bytes:
    """Encode a data set; the metadata names the format, the study's preprocessing and the provenance of the images.

    Pseudonyms of patients are in it too, so these bytes never leave memory unsealed.
    """
    arrays = archive.arrays
    names = sorted(set(arrays.patients))
    position = {name: number for number, name in enumerate(names)}
    tensors: dict[str, NDArray[Any]] = {
        "images": np.ascontiguousarray(arrays.images),
        "labels": np.ascontiguousarray(arrays.labels),
        "parts": np.ascontiguousarray(arrays.parts),
        "patients": np.array([position[name] for name in arrays.patients], np.int32),
    }
    metadata = {
        "format": FORMAT,
        "preprocessing": study.preprocessing.version,
        "provenance": archive.provenance,
        "patients": json.dumps(names),
    }
    return save(tensors, metadata)


def decode_archive(data: bytes, study: Study) -> Archive:
    """Decode what `encode_archive` made for the same study.

    Raises:
        DatasetRefused: not such an archive, damaged, or made with another preprocessing than the study now asks for.
    """
    try:
        length = int.from_bytes(data[:HEADER_LENGTH], "little")
        metadata = json.loads(data[HEADER_LENGTH : HEADER_LENGTH + length])["__metadata__"]
        tensors = load(data)
        names = json.loads(metadata["patients"])
        patients = tuple(str(names[number]) for number in tensors["patients"])
        images, labels, parts = tensors["images"], tensors["labels"], tensors["parts"]
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise DatasetRefused("the stored data set is damaged") from error
    if metadata.get("format") != FORMAT or metadata.get("preprocessing") != study.preprocessing.version:
        raise DatasetRefused("the stored data set was prepared in another way; import it again")
    arrays = DatasetArrays(images=images, labels=labels, patients=patients, parts=parts)
    return Archive(arrays, str(metadata.get("provenance")))


def seal_dataset(archive: Archive, *, sender: Identity, recipient: Certificate, study: Study, dataset_id: str) -> bytes:
    """Seal a data set so that only the hospital's training party can open it.

    Args:
        archive: the data set.
        sender: who imported it: the application.
        recipient: the sealing certificate of ``<slug>.training``, checked by the caller.
        study: whose images these are.
        dataset_id: id of its row; a file that is put under another id does not open.
    """
    context = dataset_context(sender.party, study, dataset_id)
    return seal(encode_archive(archive, study), sender=sender, recipients=[recipient], context=context)


def open_dataset(
    sealed: bytes, *, node: Identity, trust: Trust, study: Study, dataset_id: str, at: datetime, sender: str = "app"
) -> Archive:
    """Open what `seal_dataset` made, at the hospital's training node.

    Raises:
        DatasetRefused: sealed for another party, study or id, changed, or not a data set of this version.
    """
    context = dataset_context(sender, study, dataset_id)
    try:
        stored = trust.for_stored()
        data = open_sealed(sealed, recipient=node, trust=stored, context=context, sender=sender, at=at)
    except SealBroken:
        raise DatasetRefused("the sealed file does not open: it was changed or is not for this node") from None
    return decode_archive(data, study)


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
