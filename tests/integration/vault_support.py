"""Cases with genuine sealed objects, without enclaves: what the tests of vault, erasure and referral share."""

from core.diagnosis.wire import image_context, result_context
from core.services.app import Actor, App, load_master_key
from core.services.case_objects import ObjectKind, image_rows, put_object
from core.services.case_reading import sealed_image_of
from core.services.case_records import CaseSummary, case_views
from core.services.vault import key_of
from core.studies import LEUKEMIA
from db.blobs import delete_blob, get_blob
from db.engine import read_scope, session_scope
from db.models import Case
from security.identity import Identity
from security.keys import KeyStore
from security.sealing import open_sealed, seal
from tests.integration.clinic import POSITIVE, stored_case

BODY = bytes(range(256)) * 1000
RESULT = b"what the enclave found" * 100


def identity_of(app: App, party: str) -> Identity:
    return Identity.load(KeyStore(app.settings.keys_dir, party, load_master_key(app.settings)))


def full_case(
    app: App, patient: Actor, summary: CaseSummary | None = POSITIVE, *, body: bytes = BODY, slug: str = "north"
) -> str:
    """Put a case into the database with an image that the app sealed for a hospital's enclave, and its answer."""
    case_id, enclave = stored_case(app, patient, summary, slug=slug), identity_of(app, f"{slug}.serving")
    image = seal(
        body,
        sender=app.identity,
        recipients=[enclave.sealing_certificate],
        context=image_context(study=LEUKEMIA.name, case_id=case_id),
    )
    result = seal(
        RESULT,
        sender=enclave,
        recipients=[app.identity.sealing_certificate],
        context=result_context(study=LEUKEMIA.name, case_id=case_id, party=enclave.party),
    )
    with session_scope(app.engine) as session:
        row, key = image_rows(session, case_id)[0], key_of(app, session, patient.user_id)
        placeholder = row.image_blob_id
        row.image_blob_id = put_object(session, image, case_id, 0, ObjectKind.IMAGE, key=key, clock=app.clock)
        if summary is not None:
            row.result_blob_id = put_object(session, result, case_id, 0, ObjectKind.RESULT, key=key, clock=app.clock)
        session.flush()
        delete_blob(session, placeholder)
    return case_id


def sealed_image(app: App, case_id: str) -> bytes:
    """Return the image of a case as an enclave gets it."""
    with read_scope(app.engine) as session:
        view = case_views(app, session, [session.get_one(Case, case_id)], to_patient=True)[0]
        return sealed_image_of(app, session, view, 0)[1]


def opened_image(app: App, case_id: str, *, slug: str = "north") -> bytes:
    """Return what the enclave of a hospital makes of the image of a case."""
    return open_sealed(
        sealed_image(app, case_id),
        recipient=identity_of(app, f"{slug}.serving"),
        trust=app.trust(),
        context=image_context(study=LEUKEMIA.name, case_id=case_id),
        sender="app",
        at=app.clock.now(),
    )


def stored_objects(app: App, case_id: str) -> list[bytes]:
    """Return image and result of a case as they lie in the database."""
    with read_scope(app.engine) as session:
        row = image_rows(session, case_id)[0]
        return [get_blob(session, key) for key in (row.image_blob_id, row.result_blob_id) if key]
