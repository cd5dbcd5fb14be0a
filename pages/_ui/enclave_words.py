"""How the states of an enclave are called, for the pages of hospitals and of the authority."""

from core.services.node_health import EnclaveState

STATES: dict[EnclaveState, str] = {
    EnclaveState.ANSWERS: "✓ answers",
    EnclaveState.ASLEEP: "✓ ready",
    EnclaveState.SILENT: "✕ does not answer",
    EnclaveState.NOT_APPROVED: "✕ not approved",
    EnclaveState.REFUSED: "✕ certificate refused",
}
