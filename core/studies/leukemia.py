"""Leukemic (blast, promyelocyte, promonocyte) against normal white cells in single-cell pictures of blood smears."""

from core.studies.study import ClassLabel, Study, Subject

LEUKEMIA = Study(
    name="leukemia",
    code="s01",
    title="White blood cell",
    modalities=("SMEAR",),
    subject=Subject.CELL,
    classes=(
        ClassLabel(
            "normal",
            "Normal white cell",
            "a white blood cell that looks normal",
            "A mature white cell of the blood: neutrophil, eosinophil, basophil, lymphocyte or monocyte. Learned from "
            "patients with acute leukemia only, so it speaks for the cell and not for a healthy person.",
            positive=False,
        ),
        ClassLabel(
            "leukemic",
            "Leukemic cell",
            "a white blood cell that a specialist should look at",
            "A blast, promyelocyte or promonocyte, as counted in acute myeloid and promyelocytic leukemia. Single "
            "immature cells also occur in regeneration, infection and under growth factors; the count, the other "
            "cell lines, flow cytometry and genetics make the diagnosis.",
            positive=True,
        ),
    ),
    input_size=96,
    min_side=64,
    orientations=8,
)
STUDY = LEUKEMIA
