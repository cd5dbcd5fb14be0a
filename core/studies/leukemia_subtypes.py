"""Stages of B lymphoblasts against harmless look-alikes in fields of blood smears, judged as a whole."""

from core.studies.study import ClassLabel, Study, Subject

_CONFIRM = "The stage is read from surface markers (flow cytometry); the picture alone cannot prove it."

STUDY = Study(
    name="leukemia_subtypes",
    code="s02",
    title="Blood smear with several cells",
    modalities=("SMEAR",),
    subject=Subject.FIELD,
    classes=(
        ClassLabel(
            "benign",
            "Benign (hematogones)",
            "young white blood cells of the harmless kind",
            "Hematogones: normal precursors of B cells that look much like lymphoblasts and are common in children and "
            "in marrow that recovers. They call for no treatment.",
            positive=False,
        ),
        ClassLabel(
            "early_pre_b",
            "Early pre-B lymphoblasts",
            "young white blood cells of an early stage that a specialist should look at",
            f"Acute lymphoblastic leukemia of the early pre-B (common) stage: CD10 positive, no µ chain. {_CONFIRM}",
            positive=True,
        ),
        ClassLabel(
            "pre_b",
            "Pre-B lymphoblasts",
            "young white blood cells of a later stage that a specialist should look at",
            f"Acute lymphoblastic leukemia of the pre-B stage: µ chain inside the cell. {_CONFIRM}",
            positive=True,
        ),
        ClassLabel(
            "pro_b",
            "Pro-B lymphoblasts",
            "young white blood cells of the first stage that a specialist should look at",
            f"Acute lymphoblastic leukemia of the pro-B stage, the least mature: CD19 but no CD10. {_CONFIRM}",
            positive=True,
        ),
    ),
    input_size=128,
    min_side=96,
    architecture="efficientnet-lite0-shallow",
    second_reader=True,  # stages look much alike, and the picture alone cannot prove them
)
