"""The demonstration of `make flower-demo` up to the point where Flower is needed."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.learning.orders import AggregationMode, RunOptions
from core.studies import LEUKEMIA
from federated.softmax import NAME
from federated.transport.flower import demo
from federated.transport.flower.__main__ import commands


@pytest.mark.parametrize(("arguments", "learner"), [([], NAME), (["--train"], LEUKEMIA.architecture)])
def test_it_begins_with_an_order_that_parties_read_whichever_network_they_train(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], learner: str
) -> None:
    begun: list[tuple[RunOptions, str]] = []

    def demonstrate(_data: object, options: RunOptions, *, learner: str, folder: Path, **_more: Any) -> None:
        assert folder.is_dir()
        begun.append((options, learner))
        raise demo.DemoFailed("far enough")

    monkeypatch.setattr(demo, "demonstrate", demonstrate)
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 1
    assert [name for _, name in begun] == [learner], result.output
    options = begun[0][0]
    assert RunOptions.from_json(options.to_json()) == options
    assert (options.mode, len(options.parties)) == (AggregationMode.BLIND, 3)
