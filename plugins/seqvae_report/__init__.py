"""The plugin `report`: TensorBoard scalars while a run trains, and its page `report.html`.

The page is a pure function of the run's directory; see `seqvae_report.page.render`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.records import Run

__all__: list[str] = []

_KEY = "report"


@hookimpl
def seqvae_before_run(run: "Run") -> None:
    """Open the run's TensorBoard files, as they stood at `run.start_step`."""
    from seqvae_report.scalars import ScalarWriter

    run.observers[_KEY] = ScalarWriter(run.path, run.start_step)


@hookimpl
def seqvae_after_step(run: "Run", metrics: Mapping[str, float]) -> None:
    """Write the step's numbers to TensorBoard."""
    if _KEY in run.observers:
        run.observers[_KEY].write(run.step, metrics)


@hookimpl
def seqvae_after_evaluation(run: "Run") -> None:
    """Write the report."""
    from seqvae_report.page import write

    write(run.path)


@hookimpl
def seqvae_after_run(run: "Run", error: BaseException | None) -> None:
    """Close the TensorBoard files and write the report, with the error that ended the run."""
    from seqvae_report.page import write

    if _KEY in run.observers:
        run.observers.pop(_KEY).close()
    text = None if error is None else " ".join(str(error).split()) or type(error).__name__
    write(run.path, error=text)
