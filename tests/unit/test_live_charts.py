"""Charts that are drawn anew every two seconds keep nothing of what they have drawn before."""

# ruff: noqa: PLC0415  (the page is a script of its own)

import json
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

KINDS = ["lines", "spread", "stacks", "bars"]


def page(kind: str) -> None:
    """Draw one chart of a kind; a page of its own, so it imports by itself."""
    from typing import Any

    import pandas as pd

    from pages._ui import live_charts

    rounds = {"Round": [1, 2, 3]}
    named: dict[str, Any] = {"key": "chart", "alt": "a chart"}
    if kind == "lines":
        frame = pd.DataFrame({"Round": [1, 2] * 2, "Loss": [0.5, 0.4, 0.7, None], "Who": ["a", "a", "b", "b"]})
        live_charts.lines_with_table(
            frame, x="Round", y="Loss", series="Who", names=["a", "b"], y_title="Loss", **named
        )
    elif kind == "spread":
        frame = pd.DataFrame({**rounds, "All": [0.5, 0.4, 0.3], "Low": [0.3, None, 0.2], "High": [0.6, None, 0.4]})
        live_charts.spread_with_table(
            frame, x="Round", y="All", low="Low", high="High", bars="Spread", y_title="Loss", **named
        )
    elif kind == "stacks":
        frame = pd.DataFrame({**rounds, "Training": [3, 2, 2], "Waiting": [1, 1, 0]})
        live_charts.stacks_with_table(frame, x="Round", x_title="Round", y_title="Seconds", **named)
    else:
        frame = pd.DataFrame({"Class": ["a", "b"], "Training": [3, 2], "Test": [1, 1]})
        live_charts.bars_with_table(frame, x="Class", y_title="Images", **named)


def layers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every layer with the encoding that it inherits."""
    for layer in spec.get("layer", [spec]):
        yield {**layer, "encoding": {**spec["encoding"], **layer["encoding"]}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_mark_takes_the_place_of_its_former_one(kind: str) -> None:
    at = AppTest.from_function(page, args=(kind,), default_timeout=60).run()
    assert not at.exception
    (chart,) = at.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    calculated = {step["as"] for step in spec["transform"] if "calculate" in step}
    for layer in layers(spec):
        mark = layer["mark"]
        assert (mark if isinstance(mark, str) else mark["type"]) in {"bar", "point", "rule", "text"}
        assert layer["encoding"]["key"]["field"] in calculated
