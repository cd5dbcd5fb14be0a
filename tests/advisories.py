"""`make audit`: asks advisory sources about the pinned packages, and says clearly when none of them could be asked.

pip-audit itself ends with "no known vulnerabilities" when a source knows none of the packages, as a mirror without
advisories does. Here a package counts as asked about only if a source answered for it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("pypi", "osv")
PIP_AUDIT = "pip-audit==2.10.1"
CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 2


@dataclass(frozen=True)
class Findings:
    """What one source said.

    Attributes:
        source: its name.
        asked: packages that it knows.
        skipped: packages that it does not know.
        known: ``package version: advisory`` for each vulnerability.
        problem: why it could not be asked, or "".
    """

    source: str
    asked: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    known: tuple[str, ...] = ()
    problem: str = ""


def read_report(source: str, text: str, errors: str) -> Findings:
    """Return what a report of pip-audit (JSON) says; anything else means that the source could not be asked."""
    try:
        entries = json.loads(text)["dependencies"]
        skipped = frozenset(entry["name"] for entry in entries if "skip_reason" in entry)
        answered = [entry for entry in entries if "skip_reason" not in entry]
        known = [f"{one['name']} {one['version']}: {advisory['id']}" for one in answered for advisory in one["vulns"]]
    except (ValueError, KeyError, TypeError):
        lines = errors.strip().splitlines()
        return Findings(source, problem=lines[-1] if lines else "it said nothing")
    return Findings(source, frozenset(one["name"] for one in answered), skipped, tuple(known))


def conclude(found: list[Findings]) -> tuple[int, list[str]]:
    """Return the exit status and what a person reads."""
    lines = []
    for one in found:
        state = one.problem or f"knows {len(one.asked)} of {len(one.asked) + len(one.skipped)} packages"
        lines.append(f"{one.source}: {state}")
    known = sorted({line for one in found for line in one.known})
    asked = frozenset[str]().union(*(one.asked for one in found))
    missing = sorted(frozenset[str]().union(*(one.skipped for one in found)) - asked)
    if known:
        return VULNERABLE, [*lines, *(f"VULNERABLE {line}" for line in known)]
    if not asked:
        return NOT_ASKED, [*lines, "NOT AUDITED: no source of advisories could be asked; run it on another network"]
    if missing:
        return NOT_ASKED, [*lines, f"NOT AUDITED: {', '.join(missing)}"]
    return CLEAN, [*lines, f"No vulnerability is known of {len(asked)} packages."]


def ask(uv: str, source: str, lock: Path) -> Findings:
    """Let pip-audit ask one source about the packages of a lock file."""
    command = [uv, "tool", "run", "-q", "--from", PIP_AUDIT, "pip-audit", "--disable-pip", "--require-hashes"]
    command += ["-r", str(lock), "-s", source, "-f", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_report(source, done.stdout, done.stderr)


def main(uv: str, *locks: str) -> int:
    """Audit lock files; each source that is needed is asked, until one knows every package."""
    worst = CLEAN
    for lock in locks:
        found: list[Findings] = []
        for source in SOURCES:
            found.append(ask(uv, source, Path(lock)))
            if found[-1].asked and not found[-1].skipped:
                break
        status, lines = conclude(found)
        print(lock, *lines, sep="\n  ")  # noqa: T201
        worst = max(worst, status, key=(CLEAN, NOT_ASKED, VULNERABLE).index)
    return worst


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
