"""Keras starts without a word, and without the packages that it can do without."""

import os
import subprocess
import sys

from core.settings import ROOT

LEFT_OUT = """
import sys
from core.learning.backend import OPTIONAL, load_keras
load_keras()
assert "keras" in sys.modules
assert not [name for name in sys.modules if name.partition(".")[0] in OPTIONAL]
import pandas, sklearn.linear_model
assert pandas.DataFrame({"a": [1]}).shape == (1, 1)
load_keras()
assert set(OPTIONAL) <= set(sys.modules)
"""
KEPT = """
import pandas, sys
from core.learning.backend import load_keras
load_keras()
assert sys.modules["pandas"] is pandas
"""


def ran(code: str) -> subprocess.CompletedProcess[bytes]:
    """Run code in an interpreter of its own; it must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)


def test_keras_starts_without_a_line_on_the_screen_and_leaves_standard_error_as_it_was() -> None:
    code = "import sys; from core.learning.backend import load_keras; load_keras(); print('heard', file=sys.stderr)"
    done = ran(code)
    assert (done.stdout, done.stderr) == (b"", b"heard\n")


def test_what_keras_can_do_without_is_not_there_after_it_and_comes_when_somebody_asks() -> None:
    ran(LEFT_OUT)
    ran(KEPT)
