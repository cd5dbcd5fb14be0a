"""The hospital's data sets: what is there, import a zip or a folder, draw synthetic cells."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import datasets as service
from core.services import members
from core.studies import STUDIES, Study
from pages._ui import choices, guard, import_results, live_charts, shell, state, studies, times

PROVENANCES = {
    service.Provenance.SYNTHETIC: "Synthetic",
    service.Provenance.PUBLIC: "Public",
    service.Provenance.CLINICAL: "Clinical",
}
SHARES: dict[service.Assignment | Literal["all"], str] = {
    "all": "All patients",
    "patients": "A share, patients dealt alike",
    "site": "A share, sites kept together",
    "dirichlet": "A share with its own mix of classes (Dirichlet)",
    "quantity": "A share of its own size (Dirichlet)",
    "stain": "A share with its own range of stain colours",
}
ZIP_MIB = 256

app = state.app()
person = guard.actor()


def present() -> None:
    """Draw the data sets, and one of them in detail."""
    views = service.datasets(app, person)
    if not views:
        shell.empty_state(
            "No data set yet", "Import your images or draw synthetic ones below; a training run needs one data set."
        )
        return
    table = pd.DataFrame(
        {
            "Data set": [view.name for view in views],
            "Shows": [view.study.title for view in views],
            "Origin": [PROVENANCES[view.provenance] for view in views],
            "Images": [view.images for view in views],
            "Patients": [view.patients for view in views],
            "Left out": [len(view.rejected) for view in views],
            "Sealed file": [_size(view) for view in views],
            "Added": [times.show_time(view.created_at) for view in views],
        }
    )
    st.dataframe(table, hide_index=True, key="datasets_table", alt="Data sets of this hospital")
    times.zone_note()
    by_id = {view.id: view for view in views}
    titles = choices.distinct({view.id: f"{view.name} · {times.show_time(view.created_at)}" for view in views})
    if (newest := st.session_state.pop("data_newest", None)) in by_id:
        st.session_state["dataset_chosen"] = newest
    chosen = st.selectbox(
        "Look at",
        list(by_id),
        format_func=titles.__getitem__,
        key="dataset_chosen",
    )
    _detail(by_id[chosen])


def _size(view: service.DatasetView) -> str:
    """Return the sealed file's size."""
    return f"{view.sealed_bytes / 2**20:.1f} MiB" if view.sealed_bytes else "✕ missing"


def _detail(view: service.DatasetView) -> None:
    """Draw the balance of one data set and what was left out of it."""
    titles = [label.title for label in view.study.classes]
    parts = list(view.class_counts)
    counts = {title: [view.class_counts[part][index] for part in parts] for index, title in enumerate(titles)}
    frame = pd.DataFrame({"Part": [part.capitalize() for part in parts], **counts})
    live_charts.bars_with_table(
        frame,
        x="Part",
        y_title="Images",
        key="dataset_balance",
        alt=f"Images of each class in training, validation and test of {view.name}",
    )
    st.caption(
        "No patient is in two parts: the split is by patient, since a split by image would let a network recognise "
        "patients. Images are sealed for this hospital's training node; this page cannot open them."
    )
    if view.rejected:
        import_results.left_out([(line, "", reason) for line, reason in view.rejected], key="dataset_rejected")
    if st.button("Delete this data set …", key="dataset_delete", icon=":material/delete:"):
        _confirm_delete(view)


@st.dialog("Delete this data set?")
def _confirm_delete(view: service.DatasetView) -> None:
    """Say what will happen, and do it when it is confirmed."""
    st.warning(
        f"The sealed file of **{view.name}** ({view.images:,} images) is deleted. This cannot be undone.",
        icon=":material/warning:",
    )
    if st.button("Delete now", type="primary", key="dataset_delete_confirm"):
        try:
            service.delete_dataset(app, person, view.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.session_state["data_note"] = f"{view.name} is deleted."
        st.rerun()


def from_zip(study: Study) -> None:
    """Draw the form that imports a zip."""
    with st.form("zip_form", border=False):
        upload = st.file_uploader(
            f"Zip of a folder with index.csv, or with a folder for each class (up to {ZIP_MIB} MiB)",
            type=["zip"],
            key="zip_file",
            max_upload_size=ZIP_MIB,
        )
        name, provenance = _about("zip")
        naming, modality = import_results.without_index("zip", study)
        portion = _portion("zip", study)
        if st.form_submit_button("Import zip", key="zip_submit", type="primary"):
            if upload is None:
                st.warning("Choose a zip file first.", icon=":material/attach_file:")
                return
            _run(
                lambda progress: service.import_zip(
                    app,
                    person,
                    file=upload,
                    name=name,
                    provenance=provenance,
                    study=study,
                    portion=portion,
                    naming=naming,
                    modality=modality,
                    progress=progress,
                )
            )


def from_folder(study: Study) -> None:
    """Draw the form that imports a folder of the machine that the application runs on."""
    if not service.may_import_folders(app):
        st.info("Importing by path is switched off on this installation. Upload a zip instead.", icon=":material/info:")
        return
    with st.form("folder_form", border=False):
        folder = st.text_input(
            "Folder on this server", key="folder_path", placeholder="/path/to/a/folder/with/index.csv"
        )
        name, provenance = _about("folder")
        naming, modality = import_results.without_index("folder", study)
        portion = _portion("folder", study)
        if st.form_submit_button("Import folder", key="folder_submit", type="primary"):
            _run(
                lambda progress: service.import_folder(
                    app,
                    person,
                    folder=Path(folder),
                    name=name,
                    provenance=provenance,
                    study=study,
                    portion=portion,
                    naming=naming,
                    modality=modality,
                    progress=progress,
                )
            )


def _about(prefix: str) -> tuple[str, service.Provenance]:
    """Draw the fields that say what a data set is."""
    name = st.text_input(
        "Name", key=f"{prefix}_name", placeholder="Optional. Sealed in the database, seen by you and the authority."
    )
    provenance = st.radio(
        "Where do the images come from?",
        [service.Provenance.CLINICAL, service.Provenance.PUBLIC],
        format_func={
            service.Provenance.CLINICAL: "Our patients (clinical): never trained on without sealing",
            service.Provenance.PUBLIC: "A public research data set",
        }.__getitem__,
        key=f"{prefix}_provenance",
    )
    return name, provenance


def _portion(prefix: str, study: Study) -> service.Portion | None:
    """Draw the choice of a share, for hospitals that import one folder together."""
    hospitals = [view for view in members.hospitals(app, person) if view.is_active]
    own = next((place for place, view in enumerate(hospitals) if view.id == person.hospital_id), 0)
    shares = [how for how in SHARES if how != "stain" or study.is_stained]
    with st.expander("Several hospitals share this folder", key=f"{prefix}_share_box"):
        how = st.radio("Take", shares, format_func=SHARES.__getitem__, key=f"{prefix}_share")
        left, middle, right = st.columns(3)
        count = left.number_input("Hospitals", 2, 50, max(len(hospitals), 2), key=f"{prefix}_share_of")
        position = middle.number_input("Our number", 1, 50, own + 1, key=f"{prefix}_share_number")
        alpha = right.number_input("Dirichlet alpha", 0.05, 100.0, 0.5, key=f"{prefix}_share_alpha")
        st.caption(
            "Everyone who gives the same figures gets another share of the same folder; no patient is in two. "
            "A small alpha makes the hospitals' mixes of classes differ more."
        )
    if how == "all":
        return None
    return service.Portion(how=how, hospitals=int(count), position=int(position) - 1, alpha=float(alpha))


def synthetic(study: Study) -> None:
    """Draw the form that makes synthetic cells, with a look at what they are like."""
    if study is not service.SYNTHETIC_STUDY:
        st.info(
            f"Images are drawn for the study “{service.SYNTHETIC_STUDY.title}” only; for “{study.title}” import some.",
            icon=":material/info:",
        )
        return
    slug = next((view.slug for view in members.hospitals(app, person) if view.id == person.hospital_id), "")
    st.markdown(
        "Drawn by a procedure, never from a person: blasts and promyelocytes against neutrophils, lymphocytes, "
        "monocytes and eosinophils, in this hospital's own stain and light. Good for demonstrations and tests; "
        "a network trained on them says nothing about patients."
    )
    st.image(
        service.preview_cells(slug, seed=1),
        caption="Three leukemic and three normal cells, all synthetic",
        output_format="PNG",
        alt="Six drawn white cells among red cells: two blasts, a promyelocyte and three normal white cells",
    )
    with st.form("synthetic_form", border=False):
        left, middle, right = st.columns(3)
        patients = left.number_input("Invented patients", 6, 100, 20, key="synthetic_patients")
        cells = middle.number_input("Cells per patient", 1, 24, service.CELLS_PER_PATIENT, key="synthetic_cells")
        seed = right.number_input("Seed", 0, 10**6, 1, key="synthetic_seed", help="The same seed draws the same cells.")
        if st.form_submit_button("Draw and keep", key="synthetic_submit", type="primary"):
            with st.spinner("Drawing cells"):
                _run(
                    lambda _: service.generate_dataset(
                        app, person, patients=int(patients), cells_per_patient=int(cells), seed=int(seed)
                    ),
                    bar=False,
                )


def _run(act: Callable[[Callable[[int, int], None]], service.DatasetView], *, bar: bool = True) -> None:
    """Do an import with a progress bar, and show what came of it after a rerun."""
    line = st.progress(0.0, "Listing the files") if bar else None

    def progress(done: int, total: int) -> None:
        if line is not None and (done % 25 == 0 or done == total):
            line.progress(done / total, f"{done:,} of {total:,} files")

    try:
        made = act(progress)
    except HemaSealError as error:
        if line is not None:
            line.empty()
        shell.show_error(error)
        return
    st.session_state["data_note"] = (
        f"{made.name}: {made.images:,} images of {made.patients:,} patients are sealed for our training node."
    )
    st.session_state["data_newest"] = made.id
    import_results.remember(made)
    st.rerun()


shell.title(
    "Data sets",
    "Images that stay in this hospital. A training run uses one data set of each hospital.",
)
if note := st.session_state.pop("data_note", ""):
    st.success(note, icon=":material/check_circle:")
import_results.show()
try:
    present()
    st.header("Add a data set", anchor=False)
    study = studies.choose(STUDIES, key="data_study", label="What the images show")
    ways = {"Upload a zip": from_zip, "Folder on the server": from_folder, "Synthetic cells": synthetic}
    way = st.segmented_control(
        "Way", list(ways), default="Upload a zip", required=True, key="data_way", label_visibility="collapsed"
    )
    ways[way](study)
    with st.expander("What index.csv must hold", icon=":material/help:", key="index_help"):
        labels = ", ".join(f"`{name}`" for name in study.class_names)
        modalities = " or ".join(f"`{name}`" for name in study.modalities)
        st.markdown(
            "UTF-8, one line per image, with the columns `path`, `label`, `modality`, `site`, `patient` and, if you "
            f"like, `source_label`. Labels: {labels}; modality: {modalities}. Paths are relative to the folder. A "
            "patient has one site. Files may be PNG, JPEG, TIFF, BMP or DICOM. An import that is interrupted goes on "
            "where it stopped when you start it again; until then what it read lies sealed in the hospital's folder."
        )
except HemaSealError as error:
    shell.show_error(error)
