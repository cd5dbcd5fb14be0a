"""Processes that the app starts: they give way to it."""

import time
from pathlib import Path

import pytest

from core.services import processes
from core.settings import Settings

AUTOGROUP = Path("/proc/self/autogroup")
SAY = f"""
import os, pathlib
group = pathlib.Path({str(AUTOGROUP)!r})
print("niceness", os.getpriority(os.PRIO_PROCESS, 0), group.read_text().split()[-1] if group.exists() else "")
"""


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # nobody waits for it: it is meant
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_computes_for_long_gives_way_to_app_and_enclaves(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "said.log"
    processes.start(settings, ["timeit", "-n1", "-r1", "-s", "import time; time.sleep(0.5)", SAY], log=log)
    deadline = time.monotonic() + 30
    while "niceness" not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8").split()[1:3]
    assert said[0] == str(processes.NICENESS)
    assert said[1] == str(processes.NICENESS) or not AUTOGROUP.exists()
