"""Five findings against none in grey pictures of radiology: chest X-ray and CT, brain MRI, breast ultrasound.

Most findings were learned in one modality only, so a right class is in part a recognised modality; what counts is
each finding against no finding within its modality (``docs/results.md``).
"""

from core.studies.study import ClassLabel, Policy, Study, Subject, Threshold

STUDY = Study(
    name="multimodal",
    code="s03",
    title="CT, MRI, X-ray or ultrasound picture",
    modalities=("CT", "MRI", "XRAY", "US"),
    subject=Subject.SCAN,
    classes=(
        ClassLabel(
            "no_finding",
            "No finding",
            "nothing that stands out",
            "None of the five findings of this study, on chest X-ray or CT, brain MRI or breast ultrasound. Other "
            "findings, among them benign lumps of the breast, are not looked for.",
            positive=False,
        ),
        ClassLabel(
            "pneumonia",
            "Pneumonia",
            "a cloudy part of the lung that a doctor should look at",
            "Bacterial or viral pneumonia on a frontal chest X-ray. Learned from children of one to five years; in "
            "adults it has not been tried.",
            positive=True,
        ),
        ClassLabel(
            "covid19",
            "COVID-19",
            "hazy parts of the lungs that a doctor should look at",
            "Changes of a confirmed COVID-19 infection, mostly ground-glass opacities, on one slice of chest CT. "
            "Learned from figures of papers; other viral pneumonias look alike, and a swab makes the diagnosis.",
            positive=True,
        ),
        ClassLabel(
            "lung_cancer",
            "Lung cancer",
            "a spot in the lung that a specialist should look at",
            "A malignant tumour of the lung on one slice of chest CT. Stage and kind need the whole scan and a biopsy.",
            positive=True,
        ),
        ClassLabel(
            "brain_tumor",
            "Brain tumour",
            "an area inside the head that a specialist should look at",
            "A glioma, meningioma or tumour of the pituitary gland on one slice of brain MRI. Many of these are "
            "benign; kind and grade need the whole scan and tissue.",
            positive=True,
        ),
        ClassLabel(
            "breast_cancer",
            "Breast cancer",
            "an area in the breast that a specialist should look at",
            "A malignant tumour on breast ultrasound. It is confirmed by mammography and biopsy.",
            positive=True,
        ),
    ),
    input_size=224,
    min_side=64,
    architecture="efficientnet-lite0-deep",
    orientations=2,
    policy=Policy(threshold=Threshold.EVEN),
)
