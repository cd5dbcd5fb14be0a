"""The files that a case leaves as: a report, and what a hospital's own systems read."""

from functools import partial

import streamlit as st

from core.services.app import Actor, App
from core.services.case_reading import CaseDetail
from core.services.fhir_export import MIME, case_bundle
from core.services.reports import case_report
from pages._ui import times


def draw(app: App, person: Actor, detail: CaseDetail) -> None:
    """Draw the buttons; nothing is made before one is pressed."""
    case = detail.case
    if detail.review is not None:
        st.download_button(
            "Report (PDF)",
            data=partial(case_report, app, person, case.id, zone=times.zone()),
            file_name=f"report-{case.number}.pdf",
            mime="application/pdf",
            on_click="ignore",
            icon=":material/picture_as_pdf:",
            key="case_report",
        )
    st.download_button(
        "For hospital systems (FHIR R4)",
        data=partial(case_bundle, app, person, case.id),
        file_name=f"case-{case.number}.fhir.json",
        mime=MIME,
        on_click="ignore",
        icon=":material/download:",
        key="case_fhir",
    )
