"""A job as a chain of stages."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run

State = TypeVar("State")


class Stage(Protocol[State]):
    """One step of a job. A long one keeps its result in the run folder, and takes it from there when the job is resumed."""

    name: str

    def run(self, state: State, progress: Progress) -> State:
        """Do the work, or load its result; the state with what was added."""


def run_chain(stages: Sequence[Stage[State]], state: State, run: Run, progress: Progress) -> State:
    """Run the stages one after the other, timed in the manifest."""
    for stage in stages:
        with run.stage(stage.name):
            state = stage.run(state, progress)
    return state
