"""The most suspicious cells of a case as small pictures, cut out by the enclave; whole pictures stay sealed."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from core.diagnosis.conclusion import Suspect, conclude
from core.diagnosis.heatmap import is_blank, lay_over
from core.diagnosis.result import CellFinding
from core.errors import RecordDamaged
from core.imaging.decode import Pixels, decode_upload, encode_png
from core.services import audit
from core.services.answering import ImageOfCase, view_squares
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.case_access import case_for
from core.services.case_reading import results_of, sealed_image_of, viewing_hospital
from core.services.case_records import case_views
from core.services.rate_limits import VIEWS, spend
from db.engine import session_scope
from db.models import Role


@dataclass(frozen=True)
class CellPicture:
    """One of the most suspicious cells.

    Attributes:
        image: number of the image that it is in, from 0.
        finding: what the model says of it, and where it is.
        original: the cell as PNG.
        with_heat_map: the same with its heat map; None where that has nothing to show.
    """

    image: int
    finding: CellFinding
    original: bytes = field(repr=False)
    with_heat_map: bytes | None = field(repr=False)


def view_cells(app: App, actor: Actor, case_id: str) -> list[CellPicture]:
    """Return the most suspicious cells of an answered case, the most suspicious first; the viewing is audited.

    One question to the enclave for each image that holds one of them. Empty while there is no answer.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: it is not this person's.
        EnclaveUnavailable: no enclave answered.
        RecordDamaged, ImageBroken: a stored image was changed.
        TooOften: more images than a person may open in an hour.
    """
    spend(app, VIEWS, actor.user_id)
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.VIEW_IMAGE)
        entry = case_views(app, session, [case], to_patient=actor.role is Role.PATIENT)[0]
        results, _ = results_of(app, session, case, entry)
        worst = conclude(results, entry.study).worst if results else ()
        wanted: dict[int, list[Suspect]] = defaultdict(list)
        for suspect in worst:
            wanted[suspect.image].append(suspect)
        sealed = {image: sealed_image_of(app, session, entry, image) for image in wanted}
        details = {"cells": len(worst), "images": len(wanted)}
        audit.append(app, session, actor, "image.view", object_id=case.id, details=details)
    slug = viewing_hospital(entry, actor).slug
    found: list[CellPicture] = []
    for image, suspects in wanted.items():
        found += _pictures(app, slug, *sealed[image], suspects)
    return sorted(found, key=lambda cell: -cell.finding.positive_probability)


def _pictures(
    app: App, slug: str, which: ImageOfCase, sealed_image: bytes, suspects: list[Suspect]
) -> list[CellPicture]:
    boxes = [suspect.finding.box for suspect in suspects]
    strip = view_squares(app, which=which, slug=slug, sealed_image=sealed_image, boxes=boxes)
    pixels = decode_upload(strip, max_bytes=len(strip), max_pixels=app.settings.max_pixels).pixels
    height, width = pixels.shape[:2]
    if width != height * len(suspects):
        raise RecordDamaged
    squares = np.split(pixels, len(suspects), axis=1)
    return [_picture(suspect, square) for suspect, square in zip(suspects, squares, strict=True)]


def _picture(suspect: Suspect, square: Pixels) -> CellPicture:
    square, overlay = np.ascontiguousarray(square), suspect.finding.heat_map_png
    drawn = None if not overlay or is_blank(overlay) else lay_over(square, overlay)
    return CellPicture(suspect.image, suspect.finding, encode_png(square), drawn)
