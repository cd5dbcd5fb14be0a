"""Keeps docs/reference/ true: ``make docs`` writes settings, commands and error codes from the code that has them."""

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer.main

from core import __main__ as core_commands
from core import errors
from core.diagnosis import enclave
from core.learning.run_events import FailureCode
from core.settings import ROOT, SECRETS, Settings
from core.terminal import PASSWORD
from federated import __main__ as federated_commands
from federated import enrolment, worker
from federated.transport.flower import __main__ as flower_commands
from federated.transport.flower import party
from security import __main__ as security_commands
from security import verify_audit
from tests import policy_page

FOLDER = ROOT / "docs" / "reference"
_PREFIX = "HEMASEAL_"
_OTHERS = (
    (SECRETS, "none", "All: a folder with a file for each secret, named as its variable in small letters."),
    ("PORT", "`8501`", "`make run`: port of the app."),
    ("PYTHON", "the first of 3.11, 3.12, 3.13 that is found", "`make`: the Python that `.venv` is made with."),
    (PASSWORD, "asked for", "`python -m core import`, `run`, `promote`, `ask`: password of the account of `--as`."),
    ("TEST_DATABASE_URL", "`mysql+pymysql://root@127.0.0.1:3306/`", "`make test`: the MySQL server of the tests."),
    ("HEMASEAL_TEST_IMAGES", "none", "`make test`: folder of real images; tests that need them are left out."),
    ("CHROMIUM", "found on the path", "`make test`: the browser of the tests."),
)
_ARGPARSE: tuple[Callable[[], argparse.ArgumentParser], ...] = (
    worker.parser,
    enclave.parser,
    enrolment.parser,
    party.parser,
    verify_audit.parser,
)
_TYPER = (
    ("python -m core", core_commands.app),
    ("python -m federated", federated_commands.commands),
    ("python -m federated.transport.flower", flower_commands.commands),
    ("python -m security", security_commands.app),
)
_GROUPS = {
    "APP": "The application",
    "ACC": "Accounts and signing in",
    "IMG": "Images",
    "DAT": "Data sets",
    "MOD": "Models",
    "RTE": "Routing",
    "ENC": "Enclaves",
    "FED": "Federated training",
    "APT": "Appointments",
    "REF": "Referrals",
    "REV": "Reviews",
    "REP": "Reports",
    "AUD": "Audit log",
    "BAK": "Backups",
}


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    meanings = _attributes(Settings)
    rows = [
        (", ".join(f"`{name}`" for name in _variables(field)), _default(field), meanings[field])
        for field in Settings.model_fields
    ]
    return (
        "# Settings\n\nWritten by `make docs` from `core/settings.py`.\n\n"
        "Environment variables, or lines of a file `.env` in the folder that the app is started in; the environment "
        "counts more. A setting that does not fit the mode ends the start with a reason (`APP-SETTINGS`).\n\n"
        + _table(("variable", "default", "what it is"), rows)
        + "\nRead beside them:\n\n"
        + _table(("variable", "default", "read by"), [(f"`{name}`", default, text) for name, default, text in _OTHERS])
    )


def commands_page() -> str:
    """Return docs/reference/commands.md."""
    intro = (
        "# Commands\n\nWritten by `make docs` from the commands themselves.\n\n"
        "They run in the project's folder with its environment active (`. .venv/bin/activate`). Each takes `--help`. "
        "Exit status: 0 done, 1 refused or failed, with one line that ends in a code ([error codes](errors.md)), 2 a "
        "wrong option. Benchmarks (`python -m benchmarks.…`) say in their own files what they measure.\n"
    )
    parts = [intro]
    for prefix, app in _TYPER:
        root = typer.main.get_command(app)
        inner = getattr(root, "commands", None)
        named = {prefix: root} if inner is None else {f"{prefix} {name}": one for name, one in inner.items()}
        parts += [_command(title, command) for title, command in named.items()]
    parts += [_parsed(made()) for made in _ARGPARSE]
    return "\n".join(parts)


def errors_page() -> str:
    """Return docs/reference/errors.md."""
    known = sorted(_errors(), key=lambda error: error.code)
    groups = [
        (title, [one for one in known if one.code.partition("-")[0] == prefix]) for prefix, title in _GROUPS.items()
    ]
    assert sum(len(found) for _, found in groups) == len(known), "an error's code begins with no known group"
    intro = (
        "# Error codes\n\nWritten by `make docs` from `core/errors.py` and `core/learning/run_events.py`.\n\n"
        "Pages and commands end what went wrong with a code in brackets. An error that nobody foresaw is `APP-ERROR` "
        "with a *number*: the same number stands in the server's log beside what happened, and nowhere else "
        "(`pages/_ui/failures.py`).\n"
    )
    parts = [intro]
    for title, found in groups:
        rows = [(f"`{one.code}`", one.text, one.remedy) for one in found]
        parts.append(f"## {title}\n\n" + _table(("code", "what happened", "what to do"), rows))
    failures = [(f"`{code.value}`", _sentence(code.text)) for code in FailureCode]
    parts.append(
        "## Members left out of a round\n\n"
        "A member whose answer is missing or was not used is data, not an error: the round goes on while enough are "
        "left, and the page *Training runs* shows who was left out, at which step and why. A round that fails is tried "
        "again as often as its order says.\n\n" + _table(("code", "what happened"), failures)
    )
    return "\n".join(parts)


PAGES: dict[Path, Callable[[], str]] = {
    FOLDER / "settings.md": settings_page,
    FOLDER / "commands.md": commands_page,
    FOLDER / "errors.md": errors_page,
    policy_page.PAGE: policy_page.render,
}


def _errors() -> Iterator[type[errors.HemaSealError]]:
    for _, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, errors.HemaSealError):
            yield found


def _attributes(described: type) -> dict[str, str]:
    """Return what the Attributes section of a docstring says of each name; names may share a line."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        begun = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if begun:
            names = begun[1].split(", ")
            found.update(dict.fromkeys(names, begun[2]))
        elif line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return {name: _sentence(text) for name, text in found.items()}


def _variables(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    choices = getattr(alias, "choices", ())
    return [str(name) for name in choices if str(name).isupper()] or [f"{_PREFIX}{field.upper()}"]


def _default(field: str) -> str:
    value = Settings.model_fields[field].default
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.relative_to(ROOT)}`" if isinstance(value, Path) else f"`{value}`"


def _command(title: str, command: Any) -> str:
    """Return what a command of typer's says of itself."""
    rows = [_parameter(one) for one in command.params if one.name != "help"]
    return f"## {title}\n\n{_sentence(command.help or '')}\n" + (f"\n{_table(_HEAD, rows)}" if rows else "")


def _parameter(parameter: Any) -> tuple[str, str, str]:
    names = (*parameter.opts, *parameter.secondary_opts)
    if not names[0].startswith("-"):
        names = (str(parameter.metavar or parameter.name).upper(),)
    value = parameter.default
    if parameter.required:
        default = "required"
    elif value is None or value in ("", False):
        default = "none"
    else:
        default = f"`{value}`".replace("`True`", f"`{names[0]}`")
    choices = f" One of {', '.join(type(value))}." if isinstance(value, StrEnum) else ""
    return ", ".join(f"`{name}`" for name in names), default, _sentence(parameter.help or "") + choices


def _parsed(parser: argparse.ArgumentParser) -> str:
    parts = [f"## {parser.prog}\n\n{_sentence(parser.description or '')}\n"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                parts.append(
                    f"### {parser.prog} {name}\n\n{_sentence(helps[name])}\n\n" + _table(_HEAD, _actions(inner))
                )
    rows = _actions(parser)
    if rows:
        parts.insert(1, _table(_HEAD, rows))
    return "\n".join(parts)


_HEAD = ("argument", "default", "what it is")


def _actions(parser: argparse.ArgumentParser) -> list[tuple[str, str, str]]:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        name = ", ".join(action.option_strings) or action.dest.upper()
        default = (
            "required" if action.required else "none" if action.default in (None, "", False) else f"`{action.default}`"
        )
        choices = f" One of {', '.join(action.choices)}." if action.choices else ""
        rows.append((f"`{name}`", default, _sentence(action.help or "") + choices))
    return rows


def _sentence(text: str) -> str:
    """Return a docstring's or a help's text as a sentence of a page: one line, a capital, a full stop."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
    text = re.sub(r"<(\w+)>", r"`<\1>`", text)
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".?!" else f"{text}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[cell.replace("|", r"\|") for cell in line] for line in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for page, render in PAGES.items():
        page.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
