"""The key holder of encrypted heads: takes a model's head over and reads what nodes ask of it, so often and no more.

A party of its own (`KEYHOLDER`), with keys and a folder of its own, whose key store is open inside a function here and
nowhere else. It sees logits and answers in hundredths; of the person, the case and the image it sees nothing.

Every well-formed query that a node signed counts, before it is read and whatever it holds: against `QUERIES` and
`LIFETIME` of its model, both in the database for all processes together. Rounding and caps make copying a head from its
answers coarse and slow, not impossible: about twice as many chosen queries as the head has features copy nine tenths
of it (docs/encrypted-inference.md), so they bound an enclave that was broken into, not one that is used.
"""

import re
from datetime import timedelta

import numpy as np
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from core.diagnosis.bundle import ServingModel
from core.diagnosis.encrypted_backbone import Backbone
from core.diagnosis.encrypted_head import HeadSecret, encrypt_model
from core.diagnosis.encrypted_operations import KEYHOLDER, QUERY_ID_BYTES
from core.errors import CheckpointRefused, MemberRefused, NoModel, NotAuthorised, NotFound, RecordDamaged
from core.learning.weights import decode_weights
from core.services.app import App, load_master_key
from core.services.authority import AuthorityOffice, has_certificates
from core.services.rate_limits import Limit, spend
from core.studies import STUDIES
from db.blobs import get_blob, put_blob
from db.engine import session_scope
from db.models import Checkpoint, EncryptedHeadRecord, HeadQuery
from security.encrypted_inference.signed import open_query, sign_answer, sign_head
from security.errors import CertificateRefused, KeyMissing, SecurityError
from security.identity import Identity
from security.keys import KeyStore

QUERIES = Limit("head.query", 120, timedelta(minutes=1))
"""Queries of one model: more than its hospitals' patients send, fewer than somebody in a hurry would."""
LIFETIME = 20_000
"""Queries of one model, ever. After that its head has told enough, and another model is promoted."""
_QUERY_ID = re.compile(f"[0-9a-f]{{{2 * QUERY_ID_BYTES}}}")


def take_over(app: App, session: Session, row: Checkpoint, *, office: AuthorityOffice, model: ServingModel) -> None:
    """Encrypt the head of a stored checkpoint under a new key, keep the key, and store the head, signed.

    The caller has decided that the model may serve. A head is encrypted once, whenever its model serves again.

    Raises:
        CheckpointRefused: the model's weights are not in it or hold no head, its network has the head in it, or gives
            features that an encrypted head does not take.
    """
    if session.get(EncryptedHeadRecord, row.id) is not None:
        return
    if model.weights is None:
        raise CheckpointRefused("the weights are not in it, so its head cannot be encrypted")
    manifest = model.manifest
    secret, head = encrypt_model(decode_weights(model.weights)[0], manifest)
    side = manifest.input_size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Backbone(model.without_weights(), features=head.features).features(noise)
    if not has_certificates(app.settings, KEYHOLDER):
        office.enrol(session, KEYHOLDER)
    _store(app).save_secret(_secret_name(row.id), secret.save())
    envelope = sign_head(head, signer=office.identity, study=manifest.study, checkpoint_id=row.id)
    blob = put_blob(session, envelope, "head", app.clock)
    session.add(EncryptedHeadRecord(checkpoint_id=row.id, blob_id=blob.id, created_at=app.clock.now()))
    session.flush()


def head_of(session: Session, checkpoint_id: str) -> bytes:
    """Return a checkpoint's encrypted head in its signed envelope; whoever opens it checks it.

    Raises:
        NotFound: it has none.
    """
    record = session.get(EncryptedHeadRecord, checkpoint_id)
    if record is None:
        raise NotFound
    return get_blob(session, record.blob_id)


def answer(app: App, *, study: str, checkpoint_id: str, query_id: str, party: str, query: bytes) -> bytes:
    """Read one query and return the probabilities in hundredths, signed by the key holder.

    Args:
        app: names the installation: its database, clock, limits and folder of key stores.
        study: name of the study.
        checkpoint_id: the model whose head was asked.
        query_id: the query's own id.
        party: the enclave that signed it.
        query: what `security.encrypted_inference.signed.sign_query` made.

    Raises:
        NoModel: the model has no key here, or its answers are used up.
        NotAuthorised: the party is no hospital's enclave.
        MemberRefused: its certificate does not hold.
        RecordDamaged: changed, malformed, asked before, of another query, model or study, or under another head's key.
        TooOften: too many queries of this model in a short time.
    """
    if study not in STUDIES or not party.endswith(".serving"):
        raise NotAuthorised
    if not _QUERY_ID.fullmatch(query_id):
        raise RecordDamaged
    store = _store(app)
    try:
        secret = HeadSecret.load(store.load_secret(_secret_name(checkpoint_id)))
    except (KeyMissing, ValueError) as error:
        raise NoModel(study) from error
    which = {"study": study, "checkpoint_id": checkpoint_id, "query_id": query_id}
    try:
        opened = open_query(
            query, trust=app.trust(), party=party, classes=secret.key.classes, at=app.clock.now(), **which
        )
    except CertificateRefused as error:
        raise MemberRefused(party) from error
    except SecurityError as error:
        raise RecordDamaged from error
    _count(app, checkpoint_id, query_id)
    try:
        hundredths = secret.answer(opened)
    except SecurityError as error:
        raise RecordDamaged from error
    return sign_answer(hundredths, signer=Identity.load(store), **which)


def _count(app: App, checkpoint_id: str, query_id: str) -> None:
    """Spend one query of a model, or refuse it and spend nothing."""
    spend(app, QUERIES, checkpoint_id)
    try:
        with session_scope(app.engine) as session:
            record = session.get(EncryptedHeadRecord, checkpoint_id, with_for_update=True)
            if record is None or record.spent >= LIFETIME:
                raise NoModel("its encrypted head has given all the answers that it may give")
            record.spent += 1
            session.add(HeadQuery(checkpoint_id=checkpoint_id, query_id=query_id))
    except IntegrityError as error:
        raise RecordDamaged from error


def _store(app: App) -> KeyStore:
    return KeyStore(app.settings.keys_dir, KEYHOLDER, load_master_key(app.settings))


def _secret_name(checkpoint_id: str) -> str:
    return f"head-{checkpoint_id}"
