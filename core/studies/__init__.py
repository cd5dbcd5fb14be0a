"""Studies: what is asked of an image. A study is one frozen description in a file of its own; nothing else changes.

Every module of this package that names a `STUDY` adds it to `STUDIES`, in the order of the opaque codes.
"""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules

from core.studies.leukemia import LEUKEMIA
from core.studies.preprocessing import Preprocessing, StainNormalisation
from core.studies.study import ClassLabel, Inference, Policy, Study, Subject


def find_studies() -> Iterable[Study]:
    """Yield the study of every module of this package that has one."""
    for module in iter_modules(__path__, f"{__name__}."):
        study = getattr(import_module(module.name), "STUDY", None)
        if study is not None:
            yield study


def _by_name(studies: Iterable[Study]) -> dict[str, Study]:
    """Return the studies under their names, in the order of their codes.

    Raises:
        ValueError: two studies share a name or a code, so that what is stored could not be told apart.
    """
    ordered = sorted(studies, key=lambda study: study.code)
    named = {study.name: study for study in ordered}
    if len(named) < len(ordered) or len({study.code for study in ordered}) < len(ordered):
        raise ValueError("two studies share a name or a code")
    return named


STUDIES: dict[str, Study] = _by_name(find_studies())
STUDIES_BY_CODE: dict[str, Study] = {study.code: study for study in STUDIES.values()}

__all__ = [
    "LEUKEMIA",
    "STUDIES",
    "STUDIES_BY_CODE",
    "ClassLabel",
    "Inference",
    "Policy",
    "Preprocessing",
    "StainNormalisation",
    "Study",
    "Subject",
]
