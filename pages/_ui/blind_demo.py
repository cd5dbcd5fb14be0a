"""“How blind works”: the eight steps of a blind round as a diagram and in words, and a sum of three numbers to try."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.services import blind_example
from core.services.blind_example import CLIP, COPIES, STEPS, BlindExample, Way
from pages._ui import charts

HOSPITALS, CLOUD = 0.0, 1.0
NAMES = ("North", "East", "South")
START = (1.5, -2.5, 3.5)
GREY = "#808C90"


def draw() -> None:
    """Draw the section."""
    st.header("A blind round in eight steps", anchor=False)
    picture, words = st.columns([2, 3])
    with picture:
        st.plotly_chart(
            _diagram(),
            width="stretch",
            key="blind_diagram",
            alt="The eight steps between hospitals and cloud; each is described in the list beside it",
            config={"displayModeBar": False, "staticPlot": True},
        )
    with words:
        st.markdown("\n".join(f"{number}. **{step.title}.** {step.text}" for number, step in enumerate(STEPS, 1)))
        st.caption("All of it happens twice in a round: once for the updates, once for the validation figures.")
    st.header("Try it with three numbers", anchor=False)
    st.markdown(
        "Each hospital has one number; change them. They are written as integers, masked and added by the code that "
        "real rounds use, with keys that are drawn now and thrown away."
    )
    values = [
        (name, float(column.number_input(name, -CLIP, CLIP, start, 0.25, key=f"blind_value_{name}")))
        for name, column, start in zip(NAMES, st.columns(len(NAMES)), START, strict=True)
    ]
    st.button("Draw new keys", icon=":material/casino:", key="blind_again")  # the run that it starts draws them
    _example(blind_example.blind_example(values))


def _diagram() -> go.Figure:
    """Return the steps from top to bottom between two lanes, with an arrow for everything that is sent."""
    figure = go.Figure()
    for x in (HOSPITALS, CLOUD):
        figure.add_scatter(
            x=[x, x], y=[0.4, len(STEPS) + 0.7], mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip"
        )
    for number, step in enumerate(STEPS, 1):
        colour = charts.COLOURS[0]
        for place, way in enumerate(step.ways):
            y = number + 0.22 + (0.3 * place)
            if way is Way.AT_HOSPITALS:
                figure.add_scatter(
                    x=[HOSPITALS], y=[y], mode="markers", marker={"color": colour, "size": 11, "symbol": "square"}
                )
                continue
            start, end = (HOSPITALS, CLOUD) if way is Way.UP else (CLOUD, HOSPITALS)
            figure.add_annotation(
                x=end, y=y, ax=start, ay=y, xref="x", yref="y", axref="x", ayref="y",
                showarrow=True, arrowhead=2, arrowwidth=2, arrowcolor=colour, text="",
            )  # fmt: skip
        figure.add_annotation(
            x=(HOSPITALS + CLOUD) / 2, y=number - 0.08, text=f"<b>{number}</b> {step.carried}", showarrow=False
        )
    figure.update_layout(height=620, margin={"l": 8, "r": 8, "t": 40, "b": 8}, showlegend=False)
    figure.update_xaxes(
        range=[-0.2, 1.2], tickvals=[HOSPITALS, CLOUD], ticktext=["Hospitals", "Cloud"], side="top", showgrid=False
    )
    figure.update_yaxes(range=[len(STEPS) + 0.8, 0.4], visible=False)
    return figure


def _example(shown: BlindExample) -> None:
    rows = [
        {
            "": one.name,
            "Number": f"{one.value:+.2f}",
            "As an integer": f"{one.word:#010x}",
            "Uploaded, all masks on": f"{one.uploaded[0]:#010x}",
        }
        for one in shown.members
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="blind_members", alt="Numbers, integers and uploads")
    steps = [
        ("Uploads added", shown.added[0], "nothing readable"),
        ("Unmasked", shown.unmasked[0], "nothing readable"),
        ("Group masks off", shown.total_words[0], f"{shown.total:+.6f}"),
    ]
    st.dataframe(
        pd.DataFrame([{"Sum": what, "Word": f"{word:#010x}", "Stands for": stands} for what, word, stands in steps]),
        hide_index=True,
        key="blind_sums",
        alt="The sum as the cloud has it, and as the hospitals have it",
    )
    true = sum(one.value for one in shown.members)
    st.markdown(
        "Unmasking takes the own masks off, and the pair masks cancel; three group masks stay, for which the cloud has "
        "no key. Only the hospitals take those off.\n\n"
        f"The sum is **{shown.total:+.6f}**; the numbers themselves add up to {true:+.6f}. Rounding to integers can "
        f"change it by {shown.error:.1g} at most."
    )
    if shown.proved and not shown.changed_proved:
        st.markdown(
            ":material/verified: The hashes of the three masked vectors add up to the hash of the cloud's sum. Had the "
            "cloud changed one word by one, they would not."
        )
    st.plotly_chart(
        _noise(shown),
        width="stretch",
        key="blind_noise",
        alt="The same number written many times: a line before masking, scattered without any pattern after it",
        config={"displayModeBar": False},
    )
    st.caption(
        f"Each number is written {COPIES} times, each time under other masks. Before masking that is a flat line; what "
        "the cloud holds, upload or sum, is scattered over all words; only without the group masks it is flat again."
    )


def _noise(shown: BlindExample) -> go.Figure:
    """Return words over their places: North's number, its upload, the cloud's sum, and the true sum."""
    first = shown.members[0]
    series = {
        f"{first.name}, not masked": (first.word,) * COPIES,
        f"{first.name}, uploaded": first.uploaded,
        "Sum that the cloud has": shown.unmasked,
        "Sum that the hospitals read": shown.total_words,
    }
    frame = pd.DataFrame(
        [
            {"Place": place, "What": name, "Word": (word - 2**32 if word >= 2**31 else word) / 2**31}
            for name, words in series.items()
            for place, word in enumerate(words, 1)
        ]
    )
    figure = charts.line_figure(
        frame,
        x="Place",
        y="Word",
        series="What",
        x_title="Place in the vector",
        y_title="Word, signed, in units of 2³¹",
        y_range=(-1.05, 1.05),
        height=360,
    )
    figure.update_traces(mode="markers")
    return figure
