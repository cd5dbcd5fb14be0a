"""One small panel: what waits for a hospital, whether its enclave and the worker live, and its last contribution."""

from datetime import datetime, timedelta

import streamlit as st

from core.services import node_health as service
from core.services.app import Actor, App
from core.services.node_health import EnclaveState, Queue, ReplicaView, WorkerState
from pages._ui import enclave_words, times

HINTS: dict[EnclaveState, str] = {
    EnclaveState.ANSWERS: "",
    EnclaveState.ASLEEP: "it starts with the next picture",
    EnclaveState.SILENT: "its log below says why; the next picture starts it anew",
    EnclaveState.NOT_APPROVED: "ask the trusted authority to approve this installation's program",
    EnclaveState.REFUSED: "ask the trusted authority for a new one",
}
WORKER: dict[WorkerState, tuple[str, str]] = {
    WorkerState.LIVES: ("✓ lives", "it plays runs as they are ordered"),
    WorkerState.NONE: ("✓ ready", "it starts with the next run"),
    WorkerState.ELSEWHERE: ("on other machines", "whichever is free takes a run that is ordered"),
    WorkerState.OVER_FLOWER: ("over Flower", "runs reach your own machine's training process"),
}
DATABASES = {"sqlite": "SQLite", "mysql": "MySQL", "mariadb": "MariaDB"}


def draw(app: App, person: Actor) -> None:
    """Draw the panel."""
    found, now = service.health(app, person), app.clock.now()
    with st.container(border=True, key="node_health"):
        first, second, third = st.columns(3)
        with first:
            _fact("Wait for an answer", _cases(found.unanswered), _since(found.unanswered, now))
        with second:
            _fact("Wait for a doctor", _cases(found.unreviewed), _since(found.unreviewed, now))
        with third:
            last = found.contribution
            text = "none yet" if last is None else f"round {last.round}, {age(now - last.at)} ago"
            _fact("Last update sent", text, "" if last is None else times.show_time(last.at))
        first, second, third = st.columns(3)  # a row of its own, so that a narrow window keeps the order
        with first:
            holds = {0: "no model yet", 1: "one model"}.get(found.models, f"{found.models} models")
            more = f"{holds}, {found.memory_mib:.0f} MiB of memory" if found.memory_mib else ""
            hint = "" if found.replicas else HINTS[found.enclave]
            _fact("Enclave", enclave_words.STATES[found.enclave], more or hint)
        with second:
            _fact("Worker", *WORKER[found.worker])
        with third:
            name = DATABASES.get(found.database, found.database)
            _fact("Database", "✓ answers", f"{name}, {found.database_ms:.1f} ms")
        if found.replicas:
            st.caption("The enclave is on machines of its own:  \n" + "  \n".join(map(_replica, found.replicas)))
        if found.lost:
            st.warning(
                f"{_cases(Queue(found.lost, None))} cannot be answered any more: the picture was sealed for a key that "
                "is revoked, expired or gone. The patient sees that, and has to send it again.",
                icon=":material/broken_image:",
            )
        if st.button("Look again", icon=":material/refresh:", type="tertiary", key="node_look_again"):
            st.rerun()


def age(span: timedelta) -> str:
    """Return a length of time in its largest unit, rounded down: “3 days”, “1 hour”, “less than a minute”."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (count := int(span.total_seconds() // length)) > 0:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def _cases(queue: Queue) -> str:
    return "1 case" if queue.cases == 1 else f"{queue.cases} cases"


def _since(queue: Queue, now: datetime) -> str:
    return "" if queue.oldest is None else f"the oldest for {age(now - queue.oldest)}"


def _replica(one: ReplicaView) -> str:
    since = f" since {times.show_time(one.since)}" if one.since is not None else ""
    return f"`{one.address}` {enclave_words.STATES[one.state]}{since}"


def _fact(name: str, value: str, more: str) -> None:
    """Draw a name, its value, and a word on it."""
    st.markdown(f"{name}  \n**{value}**" + (f"  \n:small[{more}]" if more else ""))
