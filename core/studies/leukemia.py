"""Leukemic (blast, promyelocyte, promonocyte) against normal white cells in single-cell pictures of blood smears."""

from core.studies.study import ClassLabel, Study

LEUKEMIA = Study(
    name="leukemia",
    code="s01",
    title="White blood cell",
    modality="SMEAR",
    classes=(
        ClassLabel("normal", "Normal white cell", "a white blood cell that looks normal", positive=False),
        ClassLabel("leukemic", "Leukemic cell", "a white blood cell that a specialist should look at", positive=True),
    ),
    input_size=96,
    min_side=64,
)
