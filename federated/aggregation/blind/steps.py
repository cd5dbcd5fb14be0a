"""The steps of a blind sum, under the names that they have in messages."""

from collections.abc import Mapping
from dataclasses import dataclass

from federated.aggregation.blind.statements import Label
from federated.messages import Step


@dataclass(frozen=True, kw_only=True)
class StepNames:
    """Names of one sum's steps, in their order; `use` reads the sum that has been proved."""

    advertise: Step
    deal: Step
    upload: Step
    agree: Step
    unmask: Step
    reveal: Step
    hash: Step
    use: Step


STEPS: Mapping[Label, StepNames] = {
    Label.UPDATE: StepNames(
        advertise=Step.ADVERTISE,
        deal=Step.DEAL,
        upload=Step.UPLOAD,
        agree=Step.AGREE,
        unmask=Step.UNMASK,
        reveal=Step.REVEAL,
        hash=Step.HASH,
        use=Step.APPLY,
    ),
    Label.FIGURES: StepNames(
        advertise=Step.FIGURES_ADVERTISE,
        deal=Step.FIGURES_DEAL,
        upload=Step.FIGURES_UPLOAD,
        agree=Step.FIGURES_AGREE,
        unmask=Step.FIGURES_UNMASK,
        reveal=Step.FIGURES_REVEAL,
        hash=Step.FIGURES_HASH,
        use=Step.FIGURES_TALLY,
    ),
}
