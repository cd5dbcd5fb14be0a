"""What the pages of patients and doctors share: the choice of a time, a conversation, a few small pieces."""

import re
from collections.abc import Sequence
from datetime import date

import streamlit as st

from core.errors import HemaSealError, InvalidInput
from core.services.app import Actor, App
from core.services.messages import MAX_CHARACTERS, Conversation, MessageView, read_thread, send
from core.services.slots import SlotView
from pages._ui import shell, times

SCROLL_FROM = 4
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>#+.!|~:$^=-]")
PATIENT_ICON, DOCTOR_ICON = ":material/person:", ":material/stethoscope:"


def probability_bar(probability: float, threshold: float, *, band: tuple[float, float]) -> None:
    """Draw a probability as a bar, with the threshold as a line across it and the uncertain band striped below it.

    The numbers stand beside it.
    """
    shown, line, (low, high) = f"{probability:.1%}", f"{threshold:.0%}", band
    said = f"Probability {shown}, threshold {line}, uncertain from {low:.1%} to {high:.1%}"
    st.html(
        f'<div role="img" aria-label="{said}" style="position:relative;height:3rem;margin:0.6rem 0 1.6rem 0">'
        '<div style="position:absolute;inset:0 0 1rem 0;border:1px solid #7D9299;border-radius:0.4rem">'
        f'<div style="width:{probability:.2%};height:100%;background:#0072B2;border-radius:0.3rem"></div></div>'
        f'<div style="position:absolute;left:{low:.2%};width:{high - low:.2%};bottom:0;height:0.8rem;'
        "border:1px solid #7D9299;background:repeating-linear-gradient(45deg,#7D9299 0 3px,transparent 3px 8px)"
        '"></div>'
        f'<div style="position:absolute;left:{threshold:.2%};top:-0.3rem;bottom:-0.3rem;width:3px;background:#D55E00">'
        f'</div><div style="position:absolute;left:clamp(3rem,{threshold:.2%},calc(100% - 3rem));top:3.3rem;'
        f'transform:translateX(-50%);font-size:0.85rem;white-space:nowrap">threshold {line}</div></div>'
    )


def colour_bar(stops: Sequence[tuple[float, str]], title: str) -> None:
    """Draw the colours of a heat map from left to right, with their values below."""
    colours = ", ".join(colour for _, colour in stops)
    marks = "".join(f"<span>{value:.2f}</span>" for value, _ in stops)
    st.html(
        f'<div style="font-size:0.9rem">{title}</div>'
        f'<div role="img" aria-label="Colours from dark violet at {stops[0][0]:.2f} to yellow at {stops[-1][0]:.2f}" '
        f'style="height:1rem;border-radius:0.3rem;background:linear-gradient(to right, {colours})"></div>'
        f'<div style="display:flex;justify-content:space-between;font-size:0.85rem">{marks}</div>'
    )


def literal(text: str) -> str:
    """Return what a person wrote so that Markdown shows it as it is: no links, pictures, formulas or icons."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))


def case_in_address() -> str:
    """Return the case that the address names, or ""."""
    return st.query_params.get("case", "")


def choose_slot(slots: Sequence[SlotView], *, key: str, turn: int = 0) -> SlotView | None:
    """Draw the days that have free times and the times of one day; return the slot that is chosen.

    Args:
        slots: free times, the next first.
        key: beginning of the widgets' keys.
        turn: another number is a choice that begins anew.
    """
    days: dict[date, list[SlotView]] = {}
    for slot in slots:
        days.setdefault(times.local(slot.starts_at).date(), []).append(slot)
    left, right = st.columns([2, 3])
    with left:
        day = st.selectbox("Day", list(days), format_func=lambda d: f"{d:%A} {d.day} {d:%B}", key=f"{key}_day_{turn}")
    if day is None:
        return None
    by_id = {slot.id: slot for slot in days[day]}
    several = len({slot.doctor_id for slot in slots}) > 1
    with right:
        chosen = st.pills(
            "Time",
            list(by_id),
            format_func=lambda i: _time_of(by_id[i], with_doctor=several),
            key=f"{key}_time_{day.isoformat()}_{turn}",
            wrap=True,
        )
    st.caption(f"Times are shown in your time zone, {times.zone_name()}.")
    return by_id.get(chosen or "")


def _time_of(slot: SlotView, *, with_doctor: bool) -> str:
    start = f"{times.local(slot.starts_at):%H:%M}"
    return f"{start} · {literal(slot.doctor)}" if with_doctor else start


def conversation_title(talk: Conversation, *, for_doctor: bool) -> str:
    """Return one line about a conversation, with what is unread in words."""
    case = talk.case
    name = (
        f"{case.patient_name} · {case.number}"
        if for_doctor
        else f"{case.care.name} · picture of {times.show_time(case.created_at)} · {case.number}"
    )
    if talk.unread:
        return f"{talk.unread} new · {name}"  # what is new comes first: a narrow window cuts the end off
    return f"{name} · {talk.messages} read" if talk.messages else name


def choose_conversation(talks: Sequence[Conversation], *, for_doctor: bool) -> str:
    """Draw the choice of a conversation (that of the address first); return its case."""
    by_id = {talk.case.id: talk for talk in talks}
    ids, wanted = list(by_id), case_in_address()
    return st.selectbox(
        "Conversation",
        ids,
        index=ids.index(wanted) if wanted in by_id else 0,
        format_func=lambda i: conversation_title(by_id[i], for_doctor=for_doctor),
        key="conversation",
    )


def thread(app: App, person: Actor, case_id: str, *, hint: str) -> None:
    """Draw the messages of a case and the field to write one; an error keeps what was typed."""
    try:
        messages = read_thread(app, person, case_id)
    except HemaSealError as error:
        shell.show_error(error)
        return
    with st.container(border=True, height=420 if len(messages) > SCROLL_FROM else "content", key="thread"):
        if not messages:
            st.markdown(f":material/chat: {hint}")
        for message in messages:
            _message(message)
    _write(app, person, case_id)


def _message(message: MessageView) -> None:
    icon = DOCTOR_ICON if message.by_doctor else PATIENT_ICON
    with st.chat_message("assistant" if message.by_doctor else "user", avatar=icon):
        who = "You" if message.mine else literal(message.author)
        read = " · read" if message.mine and message.read_at else ""
        st.caption(f"{who} · {times.show_time(message.sent_at)}{read}")
        plain_text(message.text)


def plain_text(text: str) -> None:
    """Draw what a person wrote exactly as it is: no Markdown, no HTML."""
    st.text(text)


def _write(app: App, person: Actor, case_id: str) -> None:
    turn = st.session_state.setdefault("message_turn", 0)  # a new key empties the field, but only after sending
    with st.form(f"message_form_{case_id}", border=False):
        text = st.text_area(
            "Your message", key=f"message_text_{turn}", max_chars=MAX_CHARACTERS, height=110, placeholder="Write here"
        )
        sent = st.form_submit_button("Send message", icon=":material/send:", type="primary", key="message_send")
    if sent:
        try:
            send(app, person, case_id, text)
        except InvalidInput as error:
            shell.show_error(error)
        except HemaSealError as error:
            shell.show_error(error)
            st.caption("Your text is still in the field.")
        else:
            st.session_state["message_turn"] = turn + 1
            st.rerun()
