"""What a patient is told before a case goes to another hospital: who would see what, what stays, and the way back.

The doctor who asks reads the same words beforehand. Changing them means another `core.services.referrals.TEXT_VERSION`.
"""

from dataclasses import dataclass

from core.services.referral_records import ReferralStatus, ReferralView


@dataclass(frozen=True)
class RequestWords:
    """Sentences by what they are about; plain text.

    Attributes:
        question: what is asked.
        seen: who would see what.
        ends: what the former hospital can no longer do.
        stays: what stays as it is.
        declining: what a no means.
        way_back: how to withdraw the consent, and what that cannot undo.
    """

    question: str
    seen: tuple[str, ...]
    ends: tuple[str, ...]
    stays: tuple[str, ...]
    declining: str
    way_back: tuple[str, ...]


def request_words(*, doctor: str, sender: str, recipient: str, city: str, images: int) -> RequestWords:
    """Return what the patient is told about a request that names these people and hospitals."""
    pictures, them = ("picture", "it") if images == 1 else (f"{images} pictures", "them")
    return RequestWords(
        question=f"{doctor} of {sender} asks: may {recipient} in {city} look at your {pictures}?",
        seen=(
            f"The protected computer of {recipient} gets the key to your {pictures} and looks at {them} anew.",
            (
                f"The doctors of {recipient} see your name, your {pictures}, the new result, what doctors have signed "
                f"about {them}, and the messages and appointments that belong to {them}."
            ),
            "Nobody else gets to see anything.",
        ),
        ends=(
            (
                f"{sender} can no longer open your {pictures}, the result or the messages. What its doctors have seen "
                "or written down before, they know."
            ),
            "The first look of the program is replaced by a new one.",
        ),
        stays=(
            (
                "What doctors have signed, your messages and appointments stay. An appointment that you no longer "
                "want, you cancel yourself."
            ),
            "Your other pictures stay at the hospitals where they are.",
        ),
        declining=f"Everything stays as it is, and {sender} goes on looking after you. You need not say why.",
        way_back=(
            (
                f"You can change your mind at any time, on this page: “Bring it back” gives your {pictures} back to "
                f"{sender}, and {recipient} can no longer open {them}."
            ),
            f"What the doctors of {recipient} have seen or signed by then cannot be made unseen.",
        ),
    )


def standing(view: ReferralView, *, to_patient: bool) -> str:
    """Return where a request stands, in a sentence to the patient or to a doctor."""
    who, has, whose = ("You", "have", "you") if to_patient else ("The patient", "has", "the patient")
    if view.is_damaged:
        return "What was stored about this request no longer matches its seal, so it is not shown."
    return {
        ReferralStatus.ASKED: f"{who} {has} not answered yet.",
        ReferralStatus.ACCEPTED: f"{who} agreed: {view.recipient.name} looks after it now."
        if view.stands
        else f"{who} agreed. It has gone on from {view.recipient.name} since.",
        ReferralStatus.DECLINED: f"{who} declined: it stayed at {view.sender.name}.",
        ReferralStatus.TAKEN_BACK: f"{view.sender.name} took the request back before {whose} answered.",
        ReferralStatus.BROUGHT_BACK: f"{who} agreed and later brought it back to {view.sender.name}.",
    }[view.status]
