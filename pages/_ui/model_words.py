"""How the states of models are called, for the pages of models and of runs."""

from core.services.models import CheckpointStatus

MODEL_STATES: dict[CheckpointStatus, str] = {
    CheckpointStatus.CANDIDATE: "◇ candidate",
    CheckpointStatus.IN_SERVICE: "● approved, in service",
    CheckpointStatus.RETIRED: "○ retired",
    CheckpointStatus.ROLLED_BACK: "↶ rolled back",
}
