"""Studies: what is asked of an image. A study is one frozen description in a file of its own; nothing else changes."""

from core.studies.leukemia import LEUKEMIA
from core.studies.study import ClassLabel, Study

STUDIES: dict[str, Study] = {study.name: study for study in (LEUKEMIA,)}
STUDIES_BY_CODE: dict[str, Study] = {study.code: study for study in STUDIES.values()}

__all__ = ["LEUKEMIA", "STUDIES", "STUDIES_BY_CODE", "ClassLabel", "Study"]
