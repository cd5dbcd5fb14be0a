"""The pictures that a patient wants to send: looked at before anything is sent, and made ready to be sealed.

A picture that cannot be used is refused with its reason and its place among the others, so that it can be taken out.
Nothing is stored here, and the app forgets each picture when the call ends.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import cv2
import numpy as np

from core.diagnosis.assessment import cells_of_field
from core.diagnosis.wire import MAX_IMAGE_BYTES
from core.errors import CaseTooLarge, HemaSealError, ImageTooLarge, InvalidInput, NoModel
from core.imaging.decode import Pixels, decode_upload, encode_png
from core.imaging.quality import check_quality
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.candidates import served_model
from core.services.rate_limits import LOOKS, spend
from core.services.stages import Stages
from core.settings import Settings
from core.studies import STUDIES, Study
from db.engine import read_scope

MAX_IMAGES = 50
MAX_CASE_BYTES = 100 * 2**20
"""Largest sum of a case's pictures as they are stored (PNG); a case is sealed and stored in one go."""
THUMBNAIL_PX = 144


@dataclass(frozen=True)
class Advice:
    """What is known of a file before it is sent.

    Attributes:
        problem: why it cannot be sent; None if it can.
        cells: white cells found, None where the picture is judged as a whole.
        width, height: in pixels; 0 if it cannot be read.
        thumbnail: a small PNG; empty if it cannot be read.
    """

    problem: HemaSealError | None
    cells: int | None = None
    width: int = 0
    height: int = 0
    thumbnail: bytes = field(default=b"", repr=False)


def study_named(name: str) -> Study:
    """Return a study by its name.

    Raises:
        InvalidInput: it is not known.
    """
    if name not in STUDIES:
        raise InvalidInput("the study is not known")
    return STUDIES[name]


def studies_served(app: App, actor: Actor) -> list[Study]:
    """Return the studies for which a model answers now, in the order of their codes.

    Raises:
        NotAuthorised: not a patient.
    """
    served = []
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.SUBMIT_CASE, Relation.SELF, object_id=actor.user_id)
        for study in sorted(STUDIES.values(), key=lambda one: one.code):
            with suppress(NoModel):
                served_model(app, session, study)
                served.append(study)
    return served


def look_at(app: App, actor: Actor, data: bytes, *, study: str) -> Advice:
    """Look at one file as `core.services.cases.submit` will; nothing is stored or sent.

    Raises:
        NotAuthorised: not a patient.
        InvalidInput: the study is not known.
        TooOften: more files than a patient may have looked at in an hour.
    """
    asked = study_named(study)
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.SUBMIT_CASE, Relation.SELF, object_id=actor.user_id)
    spend(app, LOOKS, actor.user_id)
    try:
        pixels = _decoded(data, app.settings)
    except HemaSealError as error:
        return Advice(error)
    height, width = pixels.shape[:2]
    seen = {"width": width, "height": height, "thumbnail": _thumbnail(pixels)}
    try:
        check_quality(pixels, asked)
        found = cells_of_field(pixels, asked)
    except HemaSealError as error:
        return Advice(error, None, **seen)
    return Advice(None, None if found is None else found.total, **seen)


def prepared(files: Sequence[bytes], study: Study, settings: Settings, stages: Stages) -> list[bytes]:
    """Return the PNGs that are sealed and stored, one for each file; adds to the stages decode, gate and encode.

    Raises:
        InvalidInput: no file.
        CaseTooLarge: too many files, or too many bytes together.
        ImageTypeRefused, ImageBroken, ImageTooLarge, ImageRefused: a file cannot be used; of several it is named.
    """
    if not files:
        raise InvalidInput("no picture was chosen")
    if len(files) > MAX_IMAGES:
        raise CaseTooLarge(f"{len(files)} pictures, at most {MAX_IMAGES}")
    pictures: list[bytes] = []
    for number, data in enumerate(files, 1):
        try:
            pictures.append(_prepared(data, study, settings, stages))
        except HemaSealError as error:
            if len(files) == 1:
                raise
            detail = f": {error.detail}" if error.detail else ""
            raise type(error)(f"picture {number} of {len(files)}{detail}") from error
        if sum(map(len, pictures)) > MAX_CASE_BYTES:
            limit = MAX_CASE_BYTES // 2**20
            raise CaseTooLarge(f"from picture {number} on they take more than {limit} MiB unpacked")
    return pictures


def _prepared(data: bytes, study: Study, settings: Settings, stages: Stages) -> bytes:
    with stages.measure("decode"):
        pixels = _decoded(data, settings)
    with stages.measure("gate"):
        check_quality(pixels, study)
        cells_of_field(pixels, study)
    with stages.measure("encode"):
        picture = encode_png(pixels)
    if len(picture) > MAX_IMAGE_BYTES:  # noise packs badly, and no enclave could take it
        limit = MAX_IMAGE_BYTES // 2**20
        raise ImageTooLarge(f"unpacked it takes {len(picture) / 2**20:.0f} MiB, at most {limit} MiB")
    return picture


def _decoded(data: bytes, settings: Settings) -> Pixels:
    return decode_upload(data, max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels).pixels


def _thumbnail(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    scale = THUMBNAIL_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return encode_png(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8))
