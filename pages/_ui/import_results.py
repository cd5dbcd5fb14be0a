"""What an import asks beside the files, and what it tells afterwards: files left out, DICOM, text in pictures."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.services import datasets as service
from core.studies import Study

ROWS_SHOWN = 200
_STATE = "data_import"
NAMINGS = {
    service.Naming.EACH_FILE: "Nobody knows: each file counts as a patient of its own",
    service.Naming.FILE_STEM: "Files are named by patient: the name without its ending",
}


def without_index(prefix: str, study: Study) -> tuple[service.Naming, str]:
    """Draw what must be said of a folder without ``index.csv``: whose the images are and how they were made."""
    with st.expander("Without index.csv", key=f"{prefix}_classes_box"):
        st.markdown(
            "A folder or zip without `index.csv` is taken too when it holds a folder for each class: "
            f"{', '.join(f'`{name}`' for name in study.class_names)}. PNG, JPEG, TIFF, BMP and DICOM may be mixed."
        )
        naming = st.radio(
            "Whose are the images?", list(NAMINGS), format_func=NAMINGS.__getitem__, key=f"{prefix}_naming"
        )
        st.caption(
            "Where each file counts as a patient, pictures of one person may be learnt from and tested on, and the "
            "figures of a training run then look better than they are."
        )
        modality = study.modalities[0]
        if len(study.modalities) > 1:
            modality = st.selectbox("How were they made?", study.modalities, key=f"{prefix}_modality")
    return naming, modality


def remember(view: service.DatasetView) -> None:
    """Keep what an import told for the next run of the page, which shows it once."""
    st.session_state[_STATE] = view


def show() -> None:
    """Draw what the last import told, once."""
    view: service.DatasetView | None = st.session_state.pop(_STATE, None)
    if view is None:
        return
    if view.acquired.resumed:
        st.info(
            f"The import went on where it was interrupted: {view.acquired.resumed:,} files had been read before.",
            icon=":material/resume:",
        )
    if not view.patients_known:
        st.warning(
            "Nobody said whose the images are, so each counts as a patient of its own. That no person is in two parts "
            "of this data set is not guaranteed.",
            icon=":material/group_off:",
        )
    if view.acquired.dicom:
        _dicom(view.acquired)
    if view.refused_files:
        left_out([(item.line, item.path, item.reason) for item in view.refused_files], key="import_rejected")


def _dicom(acquired: service.Acquired) -> None:
    """Say what was de-identified, and what no program can promise."""
    st.info(
        f"{acquired.dicom:,} images came as DICOM. Of these only the pixels were kept: names, numbers, dates and all "
        "other attributes were dropped.",
        icon=":material/person_off:",
    )
    if acquired.burned_in:
        total = sum(count for _, count in acquired.burned_in)
        with st.expander(
            f"Text may be burned into {total:,} of them", icon=":material/warning:", key="import_burned_in_box"
        ):
            frame = pd.DataFrame(acquired.burned_in, columns=["Why", "Images"])
            st.dataframe(frame, hide_index=True, key="import_burned_in", alt="Images whose pixels may hold text")
            st.caption(
                "Letters in the picture itself cannot be dropped like an attribute. Look at these files; delete the "
                "data set and import it without them if names can be read."
            )


def left_out(rows: Sequence[tuple[int, str, str]], *, key: str) -> None:
    """Draw the files that an import left out, with file names where they are known."""
    count = "1 file was" if len(rows) == 1 else f"{len(rows):,} files were"
    with st.expander(f"{count} left out", icon=":material/report:", key=f"{key}_box"):
        frame = pd.DataFrame(rows[:ROWS_SHOWN], columns=["Line of index.csv", "File", "Why"])
        if not any(name for _, name, _ in rows):
            frame = frame.drop(columns="File")
        if not any(line for line, _, _ in rows):
            frame = frame.drop(columns="Line of index.csv")
        st.dataframe(frame, hide_index=True, key=key, alt="Files that were left out, with the reason")
        if len(rows) > ROWS_SHOWN:
            st.caption(f"The first {ROWS_SHOWN} of {len(rows)}.")
