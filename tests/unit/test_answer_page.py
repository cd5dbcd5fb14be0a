"""What a doctor reads of one answer."""

import pytest
from streamlit.testing.v1 import AppTest

from core.studies import LEUKEMIA, STUDIES, Study
from pages._ui import answer

SCANS = STUDIES["multimodal"]


def test_every_class_stands_there_with_its_meaning_and_those_that_cannot_be_excluded_are_named() -> None:
    def page() -> None:
        from core.studies import STUDIES  # noqa: PLC0415  the function becomes a script of its own
        from pages._ui import answer  # noqa: PLC0415

        answer.classes(STUDIES["multimodal"], (0.1, 0.7, 0.1, 0.05, 0.03, 0.02), (1, 0), 0.95)

    tab = AppTest.from_function(page, default_timeout=60).run()
    assert not tab.exception
    table = tab.dataframe[0].value
    assert list(table["Class"]) == [label.title for label in SCANS.classes]
    assert all(label.meaning in tab.markdown[1].value for label in SCANS.classes)
    assert list(table["Excluded"]) == ["no", "no", "yes", "yes", "yes", "yes"]
    assert tab.markdown[0].value == "Cannot be excluded: **No finding or Pneumonia**."
    assert "at least 95%" in tab.caption[0].value


@pytest.mark.parametrize(
    ("study", "kept", "said"),
    [
        (LEUKEMIA, (0, 1), "close to the threshold"),
        (SCANS, (0, 3), "cannot be told apart"),
        (SCANS, (3, 4), "close to the threshold"),
    ],
    ids=["two classes", "both sides", "one side"],
)
def test_the_reason_of_an_uncertain_answer_is_the_one_that_decided(
    study: Study, kept: tuple[int, ...], said: str
) -> None:
    assert said in answer.why_uncertain(study, kept)
