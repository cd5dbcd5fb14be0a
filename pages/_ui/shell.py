"""What every page looks alike in: title, standing notice, errors, empty states, and the frame around them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from core.errors import HemaSealError
from core.services.app import Actor
from pages._ui.words import ROLE_TITLES

ASSETS = Path(__file__).parent / "assets"

# Only what the theme cannot say: a readable measure, contrast of small text, of chosen tabs and of the edges of fields
# (WCAG 1.4.3 and 1.4.11), a visible keyboard focus, 44 px targets on touch screens, no motion for who asked for none.
_STYLE = """
<style>
[data-testid="stMainBlockContainer"] { max-width: 68rem; }
@media (min-width: 1400px) { .st-key-who { position: fixed; top: 0.55rem; right: 4rem; width: auto; z-index: 999991; } }
[data-testid="stForm"] [data-testid="stFormSubmitButton"] button {
  background: #0B6E74; border-color: #0B6E74; color: #FFFFFF;
}
[data-testid="stForm"] [data-testid="stFormSubmitButton"] button:hover { background: #095A5F; color: #FFFFFF; }
[data-testid="stMarkdownContainer"] p, [data-testid="stMarkdownContainer"] li { max-width: 44rem; }
[data-testid="stCaptionContainer"] { opacity: 0.85; color: inherit; }
[data-variant="segmented_control"][aria-checked="true"] { color: inherit !important; font-weight: 600; }
[data-testid="stTextInputRootElement"], [data-testid="stTextAreaRootElement"], [data-testid="stNumberInputContainer"],
[data-testid="stDateInputField"], [data-testid="stTimeInputTimeDisplay"],
[data-testid="stSelectbox"] [role="group"], [data-testid="stMultiSelect"] [role="group"] { border-color: #7D9299; }
[data-testid="stCheckbox"] span:has(input:not(:checked)) + div { border-color: #7D9299; }
a:focus-visible, button:not([tabindex="-1"]):focus-visible, summary:focus-visible {
  outline: 3px solid currentColor !important; outline-offset: 2px;
}
[data-testid="stSliderThumbValue"] { color: inherit; }
button kbd { color: inherit !important; opacity: 1 !important; }
[data-testid="stTab"][aria-selected="true"] { color: inherit; font-weight: 600; }
[data-testid="stPlotlyChart"] .main-svg:not(:has(.hoverlayer > *)) text,
[data-testid="stVegaLiteChart"] svg text { fill: currentColor !important; }
[class*="st-key-live_"] [data-stale="true"], [class*="st-key-live_"][data-stale="true"] { opacity: 1 !important; }
.st-key-access_table :is(th, td):first-child { min-width: 6.5rem; }
@media (pointer: coarse) {
  .stButton button, .stLinkButton a, .stFormSubmitButton button { min-height: 2.75rem; }
  [data-testid="stDataFrame"] { margin-top: 1.5rem; }  /* its tools always stand above it there */
}
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation-duration: 0.01ms !important; transition: none !important; }
}
</style>
"""


def frame() -> None:
    """Set the browser's tab, the logo and the few style rules; once per run, before anything else is drawn."""
    st.set_page_config(page_title="HemaSeal", page_icon=str(ASSETS / "icon.svg"), layout="wide")
    st.logo(str(ASSETS / "logo.svg"), size="large")
    st.html(_STYLE)


def tab_title(text: str) -> None:
    """Name the page in the browser's tab."""
    st.set_page_config(page_title=f"{text} · HemaSeal")


def signed_in_bar(person: Actor, *, news: Callable[[], None], hospital: str = "") -> bool:
    """Draw the line with the person's role and name, their news, and the sign-out button; tell if it was pressed."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", key="who"):
        place = f" · {hospital}" if hospital else ""
        st.markdown(f"**{ROLE_TITLES[person.role]}** · {person.username}{place}", width="content")
        news()
        return st.button("Sign out", icon=":material/logout:", type="tertiary", key="sign_out")


def plain_start_notice() -> None:
    """Say what is missing when the process was started without `asgi.py` (demo mode only)."""
    st.warning(
        "Started with `streamlit run Home.py`: fine for a look on this computer, and no more. There is no session "
        "cookie, so reloading the page signs you out, and files that a page shows are not guarded. "
        "`make run` starts it properly.",
        icon=":material/warning:",
    )


def title(text: str, lead: str = "") -> None:
    """Draw the page's title and, below it, one or two sentences on what the page is for."""
    st.title(text, anchor=False)
    if lead:
        st.markdown(lead)


def research_notice() -> None:
    """Draw the standing notice; on every page that shows or leads to a result."""
    st.caption(
        ":material/science: **For research use. Not a medical device.** "
        "HemaSeal does not make a diagnosis; only a doctor can. In an emergency call your local emergency number."
    )


def show_error(error: HemaSealError) -> None:
    """Draw what happened, what to do, and the error's code; never a traceback."""
    detail = f" ({error.detail})" if error.detail else ""
    with st.container(key=f"error_{error.code.lower().replace('-', '_')}"):
        st.error(f"**{error.text}**{detail} {error.remedy}  \n:small[Code {error.code}]", icon=":material/error:")


def sections(parts: Mapping[str, Callable[[], None]], *, key: str) -> None:
    """Draw the choice among the sections of a page, the first one chosen at first, and the section or its error."""
    names = list(parts)
    chosen = st.segmented_control(
        "Section", names, default=names[0], required=True, key=key, label_visibility="collapsed"
    )
    try:
        parts[str(chosen)]()
    except HemaSealError as error:
        show_error(error)


def empty_state(heading: str, text: str, *, icon: str = ":material/inbox:") -> None:
    """Draw the place where a list will be, in words: why it is empty and what fills it."""
    with st.container(border=True, key=f"empty_{abs(hash(heading)) % 10**8}"):
        st.markdown(f"{icon} **{heading}**")
        st.markdown(text)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Draw short facts, name before value, one a line; Markdown is allowed in the values."""
    st.markdown("\n".join(f"- {name}: **{value}**" for name, value in pairs))
