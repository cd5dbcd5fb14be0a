"""The choices of an order that nobody has to open: who is asked, what a failure means, how updates become one model.

Every control has its explanation under it as visible text, which a keyboard and a screen reader reach.
"""

from dataclasses import dataclass, field

import streamlit as st

from core.services.run_plans import (
    MAX_DEADLINE_S,
    MAX_PATIENCE,
    MAX_PROXIMAL,
    MAX_SERVER_RATE,
    MAX_TRIES,
    OPTIMISERS,
    Combining,
    CombiningRule,
    OnFailure,
    RoundRules,
    ServerOptimiser,
    ServerOptions,
    choices_in_words,
)
from core.services.runs import MIN_MEMBERS, AggregationMode

MINUTE_S = 60.0
RULES = {
    CombiningRule.MEAN: "Weighted mean",
    CombiningRule.MEDIAN: "Median",
    CombiningRule.TRIMMED_MEAN: "Trimmed mean",
    CombiningRule.KRUM: "Krum",
    CombiningRule.MULTI_KRUM: "Multi-Krum",
    CombiningRule.NORM_BOUNDED: "Mean, each update bounded in norm",
}
RULE_TEXTS = {
    CombiningRule.MEAN: "The usual one. A single hospital that sends nonsense can spoil it.",
    CombiningRule.MEDIAN: "The middle value of each weight; holds while fewer than half of the updates are bad.",
    CombiningRule.TRIMMED_MEAN: "Leaves the largest and the smallest values of each weight out.",
    CombiningRule.KRUM: "Takes the one update that lies closest to the others.",
    CombiningRule.MULTI_KRUM: "Averages those updates that lie closest to the others.",
    CombiningRule.NORM_BOUNDED: "Shortens long updates first, so that none outweighs the others.",
}
COUNTS_MALICIOUS = {CombiningRule.TRIMMED_MEAN, CombiningRule.KRUM, CombiningRule.MULTI_KRUM}
OPTIMISER_TEXTS = {
    ServerOptimiser.FEDAVG: "The new model is the old one plus the combined update, times the rate.",
    ServerOptimiser.FEDADAM: "Adam on the combined update: steps adapt to each weight.",
    ServerOptimiser.FEDYOGI: "Like Adam, but steps change more slowly when updates turn small.",
}
USUAL_RATE = {ServerOptimiser.FEDAVG: 1.0, ServerOptimiser.FEDADAM: 0.01, ServerOptimiser.FEDYOGI: 0.01}
FAILURES = {OnFailure.FAIL: "The run ends as failed", OnFailure.PAUSE: "The run pauses"}


@dataclass(frozen=True)
class Choices:
    """What was chosen.

    Attributes:
        minimum: hospitals that must finish each round; `blind` says itself how many.
        rules: who is asked in a round, for how long, and what a failure means.
        combining: how updates become one.
        server: what is done with the combined update.
        proximal: FedProx's weight; 0 for none.
    """

    minimum: int = MIN_MEMBERS
    rules: RoundRules = field(default_factory=RoundRules)
    combining: Combining = field(default_factory=Combining)
    server: ServerOptions = field(default_factory=ServerOptions)
    proximal: float = 0.0


def more(mode: AggregationMode, *, members: int) -> Choices:
    """Draw the choices for a run of so many hospitals."""
    with st.expander("More choices", icon=":material/tune:", key="order_more"):
        st.caption("A run can be ordered without any of them.")
        combining = _combining(mode, members)
        rules, minimum = _rounds(mode, members, least=max(MIN_MEMBERS, combining.least_updates))
        server = _server()
        proximal = _proximal()
    chosen = Choices(minimum=minimum, rules=rules, combining=combining, server=server, proximal=proximal)
    words = choices_in_words(combining=combining, server=server, proximal=proximal, rules=rules)
    if words:
        st.caption("Chosen beside the defaults: " + "; ".join(words) + ".")
    return chosen


def _combining(mode: AggregationMode, members: int) -> Combining:
    st.markdown("**How updates become one**")
    if mode is AggregationMode.BLIND:
        st.caption(
            "By their weighted mean. Rules that withstand malicious hospitals (median, trimmed mean, Krum) compare "
            "single updates, and in blind mode nobody sees one: choose sealed for them."
        )
        return Combining()
    left, right = st.columns(2)
    rule = left.selectbox("Combining rule", list(RULES), format_func=RULES.__getitem__, key="order_rule")
    left.caption(RULE_TEXTS[rule])
    if rule is CombiningRule.NORM_BOUNDED:
        bound = right.number_input("Largest norm of an update", 0.01, 1000.0, 5.0, 0.5, key="order_norm_bound")
        right.caption("The Euclidean norm of all weight changes of one hospital in one round.")
        return Combining(rule=rule, norm_bound=bound)
    if rule not in COUNTS_MALICIOUS:
        return Combining(rule=rule)
    most = max(
        f for f in range(members + 1) if Combining(rule=rule, malicious=f).least_updates <= max(members, MIN_MEMBERS)
    )
    malicious = int(
        right.number_input("Malicious hospitals to withstand", 0, most, min(1, most), key="order_malicious")
    )
    combining = Combining(rule=rule, malicious=malicious)
    right.caption(
        f"With {members} hospitals at most {most}: to withstand {malicious}, each round needs "
        f"{max(MIN_MEMBERS, combining.least_updates)} updates."
    )
    return combining


def _rounds(mode: AggregationMode, members: int, *, least: int) -> tuple[RoundRules, int]:
    st.markdown("**Rounds**")
    left, right = st.columns(2)
    share = left.number_input("Hospitals that each round asks, in %", 10, 100, 100, 5, key="order_participation")
    left.caption("Drawn anew for each round from the signed order; never fewer than must finish it.")
    minimum = MIN_MEMBERS
    if mode is not AggregationMode.BLIND:
        minimum = int(
            right.number_input(
                "Hospitals that must finish each round", least, max(members, least), key=f"order_minimum_{least}"
            )
        )
        right.caption("With fewer, the round fails. Never below three: each of two could work out the other's update.")
    else:
        right.markdown("Hospitals that must finish each round")
        right.caption("In blind mode more than two thirds of those asked, so that no false drop-out opens an update.")
    left, middle, right = st.columns(3)
    minutes = left.number_input(
        "Time for training, in minutes", 0, int(MAX_DEADLINE_S / MINUTE_S), 0, 5, key="order_deadline"
    )
    left.caption("Who is later is left out of the round. 0 means a day.")
    tries = middle.number_input("Tries for each round", 1, MAX_TRIES, 1, key="order_tries")
    middle.caption("Each try starts afresh, with new keys; nothing of a failed one is used.")
    failing = right.radio(
        "When all tries of a round failed", list(FAILURES), format_func=FAILURES.__getitem__, key="order_on_failure"
    )
    right.caption("Either can be resumed after the last finished round.")
    patience = st.number_input("Rounds without a lower validation loss", 0, MAX_PATIENCE, 0, key="order_patience")
    st.caption("After so many in a row the run ends with the model that it has. 0 means that all rounds are trained.")
    rules = RoundRules(
        participation=share / 100,
        deadline_s=minutes * MINUTE_S,
        tries=int(tries),
        on_failure=failing or OnFailure.FAIL,
        patience=int(patience),
    )
    return rules, minimum


def _server() -> ServerOptions:
    st.markdown("**Step of the global model**")
    left, right = st.columns(2)
    chosen = left.selectbox(
        "Server optimiser", list(OPTIMISERS), format_func=OPTIMISERS.__getitem__, key="order_optimiser"
    )
    left.caption(OPTIMISER_TEXTS[chosen])
    usual = USUAL_RATE[chosen]
    rate = right.number_input(
        "Rate", 0.001, MAX_SERVER_RATE, usual, 0.01, format="%.3f", key=f"order_rate_{chosen.value}"
    )
    right.caption(f"{usual:g} is usual for {OPTIMISERS[chosen]}.")
    return ServerOptions(optimiser=chosen, learning_rate=rate)


def _proximal() -> float:
    st.markdown("**Local training**")
    weight = st.number_input(
        "FedProx: pull towards the global model", 0.0, MAX_PROXIMAL, 0.0, 0.01, format="%.3f", key="order_proximal"
    )
    st.caption(
        "Keeps hospitals with unlike data from drifting apart in a round. 0 is off; 0.01 to 1 is usual; the more, the "
        "smaller a round's step."
    )
    return weight
