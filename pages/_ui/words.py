"""Short names, for people, of the services' enums; the long texts belong to the services."""

from collections.abc import Mapping

from core.services.accounts import ConsentPurpose, Role

ROLE_TITLES: dict[Role, str] = {
    Role.PATIENT: "Patient",
    Role.DOCTOR: "Doctor",
    Role.HOSPITAL: "Hospital",
    Role.AUTHORITY: "Trusted authority",
}

CONSENT_TITLES: dict[ConsentPurpose, str] = {
    ConsentPurpose.DIAGNOSIS: "Analyse my images",
    ConsentPurpose.FALLBACK_HOSPITAL: "Use a second hospital if needed",
    ConsentPurpose.EMAIL: "Tell me by e-mail when something is new",
}

KEY_USES: dict[str, str] = {"sign": "signing", "seal": "sealing"}

PARTY_PARTS: dict[str, str] = {
    "training": "training node",
    "serving": "serving enclave",
    "authority": "Trusted authority",
    "coordinator": "Coordinator",
    "aggregation": "Aggregation enclave",
    "app": "This application",
    "keyholder": "Key holder",
}


def party_title(name: str, hospitals: Mapping[str, str]) -> str:
    """Return a party's name for people: “North hospital · training node”; `hospitals` are names by short name."""
    slug, _, part = name.partition(".")
    title = PARTY_PARTS.get(part, part)
    return f"{hospitals.get(slug, slug)} · {title}" if part else PARTY_PARTS.get(name, name)


# RFC 5280, section 5.3.1, in words.
REVOCATION_REASONS: dict[str, str] = {
    "keyCompromise": "The key may have been stolen",
    "cessationOfOperation": "The node is closed down",
    "affiliationChanged": "The hospital left",
    "privilegeWithdrawn": "The hospital may no longer take part",
    "superseded": "A newer certificate replaces it",
    "unspecified": "Another reason",
}

OUTCOMES: dict[str, str] = {"done": "✓ done", "refused": "✕ refused", "failed": "⚠ failed"}

# Beginnings of the names of acts in the audit log.
ACT_GROUPS: dict[str, str] = {
    "": "Everything",
    "sign-": "Signing in and out",
    "account.": "Accounts",
    "consent.": "Consents",
    "profile.": "Personal details",
    "case.": "Cases",
    "review.": "Reviews",
    "referral.": "Referrals",
    "message": "Messages",
    "appointment.": "Appointments",
    "dataset.": "Data sets",
    "run.": "Training runs",
    "incoming.": "Drift of incoming images",
    "model.": "Models",
    "member.": "Members",
    "certificate.": "Certificates",
    "key.": "Exchanged keys",
    "evaluation.": "Evaluations",
    "presentation.": "Presentations",
    "audit.": "The log itself",
    "refused.": "Refused acts",
}
