"""What is told of a network's variables without Keras is what Keras builds."""

import math

import pytest

from core.learning.architectures import ARCHITECTURES, build
from core.learning.variables import parameters_of, variables_of
from core.studies import STUDIES, Study


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("study", list(STUDIES.values()), ids=lambda study: study.name)
def test_the_file_holds_the_variables_of_each_network_for_each_study(architecture: str, study: Study) -> None:
    model = build(architecture, input_size=study.input_size, classes=len(study.classes))
    wanted = {variable.path: tuple(variable.shape) for variable in model.weights}
    assert variables_of(architecture, study) == wanted
    assert list(variables_of(architecture, study)) == list(wanted)


def test_parameters_are_counted_over_all_variables() -> None:
    assert parameters_of({"kernel": (3, 3, 2), "bias": (2,)}) == math.prod((3, 3, 2)) + 2


def test_an_unknown_network_has_no_variables() -> None:
    study = next(iter(STUDIES.values()))
    with pytest.raises(ValueError, match="not known"):
        variables_of("no-such-network", study)
