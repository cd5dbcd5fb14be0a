"""What a bundle of HL7 FHIR R4 must hold: the official models, and the rules that models do not check.

`fhir.resources` has models of R4B (4.3.0), not of R4 (4.0.1). Of the resources that are written here R4B changed none
but by corrections of words, so that whatever is valid there is valid R4; its required codes are checked here by hand
against the value sets of 4.0.1 (hl7.org/fhir/R4), as are the invariants, named as the standard names them.
"""

import re
from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B import get_fhir_model_class

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
CODES = {
    ("DiagnosticReport", "status"): "registered partial preliminary final amended corrected appended cancelled",
    ("Observation", "status"): "registered preliminary final amended corrected cancelled entered-in-error unknown",
    ("Appointment", "status"): "proposed pending booked arrived fulfilled cancelled noshow entered-in-error waitlist",
    ("Consent", "status"): "draft proposed active rejected inactive entered-in-error",
}
INTERPRETATIONS = {"POS", "NEG", "IND"}


def check_bundle(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the resources of a collection that holds to the standard.

    Raises:
        AssertionError, ValueError: a rule is broken; says which.
    """
    get_fhir_model_class("Bundle").model_validate(bundle)
    assert bundle["type"] == "collection"
    assert "total" not in bundle, "bdl-1: only of searches"
    addresses = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(addresses)) == len(addresses), "bdl-7: an address twice"
    resources = [entry["resource"] for entry in bundle["entry"]]
    for address, resource in zip(addresses, resources, strict=True):
        assert address == f"urn:uuid:{resource['id']}", "an address that is not the id's"
        check_resource(resource)
        for target in references(resource):
            assert target in addresses, f"{resource['resourceType']} names {target}, which is not in the bundle"
    return resources


def check_resource(resource: dict[str, Any]) -> None:
    """Hold one resource to the standard."""
    kind = resource["resourceType"]
    get_fhir_model_class(kind).model_validate(resource)
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", resource["id"]), "id-1"
    if (kind, "status") in CODES:
        assert resource["status"] in CODES[kind, "status"].split(), f"{kind}.status"
    for name in ("issued", "timestamp"):
        assert name not in resource or INSTANT.fullmatch(resource[name]), f"{kind}.{name} is no instant"
    assert not any(value in (None, "", [], {}) for value in resource.values()), "ele-1: an element without a value"
    RULES.get(kind, lambda _: None)(resource)


def references(value: object) -> Iterator[str]:
    """Yield every address that something refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def _observation(resource: dict[str, Any]) -> None:
    valued = any(name.startswith("value") for name in resource)
    assert valued or resource.get("component") or resource.get("hasMember"), "an observation that says nothing"
    assert not (valued and "dataAbsentReason" in resource), "obs-6"
    own = resource["code"]["coding"]
    assert not (valued and any(part["code"]["coding"] == own for part in resource.get("component", []))), "obs-7"
    for limits in resource.get("referenceRange", []):
        assert {"low", "high", "text"} & limits.keys(), "obs-3"
    for interpretation in resource.get("interpretation", []):
        assert {coding["code"] for coding in interpretation["coding"]} <= INTERPRETATIONS


def _appointment(resource: dict[str, Any]) -> None:
    assert all({"type", "actor"} & participant.keys() for participant in resource["participant"]), "app-1"
    assert ("start" in resource) == ("end" in resource), "app-2"
    assert "start" in resource or resource["status"] in {"proposed", "cancelled", "waitlist"}, "app-3"
    assert "cancelationReason" not in resource or resource["status"] in {"cancelled", "noshow"}, "app-4"
    assert INSTANT.fullmatch(resource["start"])
    assert INSTANT.fullmatch(resource["end"])


def _consent(resource: dict[str, Any]) -> None:
    assert "policy" in resource or "policyRule" in resource, "ppc-1"
    assert "patient" in resource, "ppc-2"


RULES = {"Observation": _observation, "Appointment": _appointment, "Consent": _consent}
