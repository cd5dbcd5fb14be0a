"""What is written on options: no two alike."""

from pages._ui.choices import distinct


def test_titles_that_are_alike_get_numbers() -> None:
    assert distinct({"a": "Smears", "b": "Cells", "c": "Smears", "d": "Smears"}) == {
        "a": "Smears",
        "b": "Cells",
        "c": "Smears (2)",
        "d": "Smears (3)",
    }
