"""What a doctor reads of one answer: every class with its probability and meaning, and which cannot be excluded."""

from collections.abc import Collection, Sequence

import pandas as pd
import streamlit as st

from core.studies import Study


def classes(study: Study, probabilities: Sequence[float], kept: Collection[int], coverage: float) -> None:
    """Draw the classes in a table, what the prediction set promises, and what each class means.

    Args:
        study: gives the classes.
        probabilities: calibrated, in the study's order, in 0..1.
        kept: the prediction set: indices of the classes that cannot be excluded.
        coverage: share of each class's images whose sets hold it, on validation, in 0..1.
    """
    table = pd.DataFrame(
        {
            "Class": [label.title for label in study.classes],
            "Calibrated probability": [f"{p:.1%}" for p in probabilities],
            "Excluded": ["no" if number in kept else "yes" for number in range(len(study.classes))],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        width="content",
        key="case_probabilities",
        alt="Classes with their probabilities, and whether they can be excluded",
    )
    named = " or ".join(study.classes[number].title for number in sorted(kept))
    st.markdown(f"Cannot be excluded: **{named}**.")
    st.caption(
        f"For every class, at least {coverage:.0%} of its images in the validation keep it among those that cannot be "
        "excluded. Images of other patients, cameras or laboratories can do worse."
    )
    with st.expander("What the classes mean", icon=":material/help:", key="case_meanings"):
        st.markdown("\n".join(f"- **{label.title}**: {label.meaning}" for label in study.classes))


def measured(measurement: str, approval: int) -> str:
    """Return the measurement of what answered (hex), in short, and the number of the authority's approval of it."""
    return f"measurement {measurement[:12]}" + (f" (approval {approval})" if approval else "")


def why_uncertain(study: Study, kept: Collection[int]) -> str:
    """Return why the program leaves an answer to the doctor."""
    sides = {study.classes[number].positive for number in kept}
    if len(study.classes) > 2 and len(sides) > 1:  # noqa: PLR2004  with two classes only the threshold decides
        return "Classes that call for action and others cannot be told apart, so the program leaves the answer to you."
    return "It lies so close to the threshold that the program leaves the answer to you."
