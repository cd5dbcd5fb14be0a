"""Keras starts without a word."""

import os
import subprocess
import sys

from core.settings import ROOT


def test_keras_starts_without_a_line_on_the_screen_and_leaves_standard_error_as_it_was() -> None:
    code = "import sys; from core.learning.backend import load_keras; load_keras(); print('heard', file=sys.stderr)"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"heard\n")
