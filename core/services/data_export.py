"""Everything of one's own in one zip file (GDPR, articles 15 and 20), made in memory; asks for the password.

Pictures are opened through the hospital's enclave, each of them as any viewing is. What cannot be opened now is left
out and named, so that one broken record does not keep the rest from its owner.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import col, select

from core.errors import DatabaseUnavailable, HemaSealError
from core.services import audit, fhir
from core.services.access_log import accesses
from core.services.accounts import profile
from core.services.app import Actor, App
from core.services.appointments import AppointmentView, appointments, calendar
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import case_for
from core.services.case_objects import image_rows
from core.services.case_reading import CaseDetail, DiagnosisResult, ListedCase, own_cases, read_case, view_pictures
from core.services.consents import wording
from core.services.fhir_export import case_resources, encoded
from core.services.messages import messages_of
from core.services.plain_words import words_for
from core.services.rate_limits import EXPORTS, spend
from core.services.referrals import ReferralView, referrals
from core.services.reports import case_report
from core.services.reviews import ReviewView, reviews_of
from core.services.second_readings import SecondReadingView, readings_of
from core.services.sessions import require_password
from db.engine import read_scope, session_scope
from db.models import Consent

MAX_BYTES = 512 * 2**20
"""From this size on pictures are left out and named; they can be opened one by one."""
README = """What this file holds
====================

Everything that HemaSeal stores about you, taken out for you on {made}.
You may keep it, read it, or give it to whom you like. Keep it in a safe place: it is not locked.

profile.json          your name, e-mail address and city, and the name you sign in with
consents.json         what you agreed to, when, and when you withdrew it
appointments.json     your appointments; beside each a calendar file in the folder "appointments"
who-looked.json       what others did with your data, and when
cases/                a folder for each time you sent pictures:
  case.json           when it was sent, to which hospital and why, the program's answer with its numbers, what doctors
                      signed, second readings by other doctors, requests to refer you to another hospital with what you
                      answered, and your messages with them
  picture-01.png ...  your pictures as they are stored: what a camera wrote into the file was thrown away on arrival
  report.pdf          the report, where a doctor has signed
fhir-bundle.json      results, appointments and consents in the format that hospital systems read (HL7 FHIR R4).
                      Your name is not in it; you can tell a hospital that it is yours.

The .json files are plain text that any editor shows; programs can read them. Times are UTC.

The program's numbers are estimates about pictures of one sample, made by research software that is not a medical
device. A doctor can explain them to you.

{left_out}"""
ALL_THERE = "Nothing was left out.\n"


@dataclass
class _Zip:
    """A zip file in memory, and what could not be put into it."""

    made: datetime
    file: io.BytesIO = field(default_factory=io.BytesIO)
    left_out: list[str] = field(default_factory=list)

    def put(self, name: str, data: bytes, *, packed: bool = True) -> None:
        """Add a file."""
        entry = zipfile.ZipInfo(name, self.made.timetuple()[:6])
        entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(self.file, "a") as archive:
            archive.writestr(entry, data)

    def put_json(self, name: str, value: object) -> None:
        """Add a value as JSON."""
        self.put(name, _json(value))

    def attempt(self, name: str, make: Callable[[], bytes], *, packed: bool = True) -> None:
        """Add what `make` returns, or the name with the reason why not."""
        try:
            self.put(name, make(), packed=packed)
        except DatabaseUnavailable:
            raise
        except HemaSealError as error:
            self.left_out.append(f"{name}: {error.public_text}")


def export_data(app: App, actor: Actor, *, password: str) -> bytes:
    """Return a zip file with everything of one's own.

    Raises:
        NotAuthorised: not a patient.
        SignInFailed, AccountLocked: the password is wrong; nothing was taken out.
        TooOften: more of these than a person may take out in a day.
        DatabaseUnavailable: the database did not answer.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.EXPORT_DATA, Relation.SELF, object_id=actor.user_id)
    require_password(app, actor, password)
    spend(app, EXPORTS, actor.user_id)
    listed = own_cases(app, actor)
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.EXPORT_DATA, Relation.SELF, object_id=actor.user_id)
        audit.append(app, session, actor, "data.export", object_id=actor.user_id, details={"cases": len(listed)})
        given = select(Consent).where(Consent.user_id == actor.user_id).order_by(col(Consent.given_at))
        agreed = list(session.exec(given).all())
    out = _Zip(app.clock.now())
    out.attempt("profile.json", partial(_profile, app, actor))
    out.put_json("consents.json", [_consent(row) for row in agreed])
    booked = appointments(app, actor)
    out.put_json("appointments.json", [_appointment(view) for view in booked])
    for view in booked:
        out.put(f"appointments/{view.starts_at:%Y-%m-%d-%H%M}-{view.id[:8]}.ics", calendar(app, actor, view.id))
    resources = [fhir.patient(actor.user_id), *(fhir.consent(row, wording(row.purpose)) for row in agreed)]
    asked = referrals(app, actor)
    for entry in listed:
        resources += _put_case(app, actor, out, entry, [one for one in asked if one.case_id == entry.case.id])
    out.put_json("who-looked.json", list(_accesses(app, actor)))
    unique = {str(resource["id"]): resource for resource in resources}
    out.put("fhir-bundle.json", encoded(fhir.bundle(unique.values(), at=out.made)))
    missing = "".join(f"- {line}\n" for line in out.left_out)
    told = f"Left out, since it could not be opened when this file was made:\n\n{missing}" if missing else ALL_THERE
    out.put("README.txt", README.format(made=f"{out.made:%Y-%m-%d %H:%M} UTC", left_out=told).encode())
    return out.file.getvalue()


def _put_case(app: App, actor: Actor, out: _Zip, entry: ListedCase, asked: list[ReferralView]) -> list[fhir.Resource]:
    """Put everything of a case into the file; return its FHIR resources."""
    case = entry.case
    folder = f"cases/{case.created_at:%Y-%m-%d}-{case.number}"
    resources: list[fhir.Resource] = []
    try:
        detail = read_case(app, actor, case.id)
        reviews = reviews_of(app, actor, case.id)
        out.put_json(f"{folder}/case.json", _case(app, actor, detail, reviews, asked))
        resources = case_resources(app, actor, detail)
        if reviews:
            out.attempt(f"{folder}/report.pdf", partial(case_report, app, actor, case.id))
    except DatabaseUnavailable:
        raise
    except HemaSealError as error:
        out.left_out.append(f"{folder}/case.json: {error.public_text}")
    with read_scope(app.engine) as session:
        images = len(image_rows(session, case.id))
    for number in range(images):
        name = f"{folder}/picture-{number + 1:02d}.png"
        if len(out.file.getbuffer()) > MAX_BYTES:
            out.left_out.append(f"{name}: this file would become too large; open it under “My results”.")
            continue
        out.attempt(name, partial(_picture, app, actor, case.id, number), packed=False)
    return resources


def _picture(app: App, actor: Actor, case_id: str, number: int) -> bytes:
    return view_pictures(app, actor, case_id, image=number, heat_map=False).original


def _case(
    app: App, actor: Actor, detail: CaseDetail, reviews: list[ReviewView], asked: list[ReferralView]
) -> dict[str, Any]:
    case, study, conclusion = detail.case, detail.case.study, detail.conclusion
    words = words_for(ListedCase(case, detail.review, is_damaged=False))
    with session_scope(app.engine) as session:
        row = case_for(app, session, actor, case.id, Action.READ_MESSAGES)
        thread = messages_of(app, session, actor, row)
        second = readings_of(app, session, actor, row)
        audit.append(app, session, actor, "message.read", object_id=case.id, details={"messages": len(thread)})
    return {
        "id": case.id,
        "number": case.number,
        "study": study.title,
        "status": case.status.value,
        "sent_at": case.created_at.isoformat(),
        "answered_at": _iso(case.answered_at),
        "hospital": case.hospital.name,
        "other_hospital_allowed": case.fallback.name if case.fallback else None,
        "answered_by": case.answered_by.name if case.answered_by else None,
        "why_this_hospital": case.routing_reason,
        "in_plain_words": [words.headline, words.meaning, words.next_step],
        "outcome": conclusion.outcome.value if conclusion else None,
        "cells": conclusion.cells if conclusion else None,
        "positive_cells": conclusion.positive if conclusion else None,
        "positive_share_interval_95": [conclusion.share_low, conclusion.share_high] if conclusion else None,
        "results": [_result(detail, result) for result in detail.results],
        "results_problem": detail.problem,
        "signed_by_doctors": [_review(detail, review) for review in reviews],
        "second_readings": [_second_reading(detail, reading) for reading in second],
        "referrals": [_referral(view) for view in asked],
        "messages": [
            {
                "from": "you" if message.mine else message.author,
                "sent_at": message.sent_at.isoformat(),
                "read_at": _iso(message.read_at),
                "text": message.text,
            }
            for message in thread
        ],
    }


def _result(detail: CaseDetail, result: DiagnosisResult) -> dict[str, Any]:
    names = detail.case.study.class_names
    return {
        "picture": result.image + 1,
        "probabilities": dict(zip(names, result.probabilities, strict=True)),
        "positive_probability": result.positive_probability,
        "threshold": result.threshold,
        "outcome": result.outcome.value,
        "cannot_be_excluded": [names[number] for number in result.prediction_set],
        "coverage": result.coverage,
        "cells": [
            {"left_top_side_px": list(cell.box), "positive_probability": cell.positive_probability}
            for cell in result.cells
        ],
        "model": {"checkpoint": result.checkpoint_id, "weights_sha256": result.weights_sha256},
        "enclave": {"party": result.answered_by, "measurement": result.measurement},
        "at": result.at.isoformat(),
    }


def _review(detail: CaseDetail, review: ReviewView) -> dict[str, Any]:
    concluded = None if review.conclusion is None else detail.case.study.classes[review.conclusion].title
    return {
        "doctor": review.doctor,
        "signed_at": review.signed_at.isoformat(),
        "decision": review.decision.value,
        "conclusion": concluded,
        "to_you": review.note,
        "in_force": review.is_current,
    }


def _second_reading(detail: CaseDetail, reading: SecondReadingView) -> dict[str, Any]:
    concluded = None if reading.conclusion is None else detail.case.study.classes[reading.conclusion].title
    return {
        "asked_by": reading.asked_by or "the rules of the study",
        "asked_at": reading.asked_at.isoformat(),
        "reader": reading.reader or None,
        "signed_at": _iso(reading.signed_at),
        "conclusion": concluded,
        "same_as_the_first": reading.confirms if reading.signed_at else None,
    }


def _referral(view: ReferralView) -> dict[str, Any]:
    return {
        "asked_by": view.doctor,
        "from": view.sender.name,
        "to": view.recipient.name,
        "reason": view.reason,
        "asked_at": view.asked_at.isoformat(),
        "status": view.status.value,
        "answered_at": _iso(view.answered_at),
        "ended_at": _iso(view.ended_at),
        "damaged": view.is_damaged,
    }


def _profile(app: App, actor: Actor) -> bytes:
    own = profile(app, actor)
    return _json({"username": actor.username, "name": own.display_name, "email": own.email, "city": own.city})


def _consent(row: Consent) -> dict[str, str | None]:
    return {
        "purpose": row.purpose.value,
        "version": row.text_version,
        "words_today": wording(row.purpose),
        "given_at": row.given_at.isoformat(),
        "withdrawn_at": _iso(row.withdrawn_at),
    }


def _appointment(view: AppointmentView) -> dict[str, Any]:
    return {
        "status": view.status.value,
        "starts_at": view.starts_at.isoformat(),
        "ends_at": view.ends_at.isoformat(),
        "doctor": view.doctor,
        "hospital": view.hospital,
        "city": view.city,
        "case": view.case_id,
        "booked_by_you": view.booked_by_patient,
    }


def _accesses(app: App, actor: Actor) -> Iterator[dict[str, Any]]:
    before = None
    while True:
        page = accesses(app, actor, before=before)
        for act in page.acts:
            yield {
                "at": act.time.isoformat(),
                "who": act.who,
                "hospital": act.place,
                "what": act.what,
                "case": act.case,
                "times": act.times,
            }
        before = page.before
        if before is None:
            return


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
