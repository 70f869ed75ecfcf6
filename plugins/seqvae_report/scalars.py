"""TensorBoard scalars, each logged step once, also over kills and resumes."""

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter

from seqvae_report.history import read_lines

__all__ = ["ScalarWriter"]


class ScalarWriter:
    """The TensorBoard files of one run.

    What earlier processes left in the folder is replaced by a replay of `metrics.jsonl` up to
    `start_step`: a process that was killed has left steps that will be repeated, and has lost some
    that will not.

    Args:
        path: the run's directory.
        start_step: the step that the run starts or continues from.
    """

    def __init__(self, path: Path, start_step: int = 0):
        folder = path / "tensorboard"
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._writer = FileWriter(str(folder))
        for line in read_lines(path):
            if line is not None and line["step"] <= start_step:
                self.write(int(line["step"]), line)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write all numbers of one step as one event."""
        # One event of many values: `SummaryWriter.add_scalar` makes one event for each value,
        # which takes ten times as long.
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in metrics.items()
            if name != "step"
        ]
        self._writer.add_summary(Summary(value=values), step)

    def close(self) -> None:
        """Flush everything to the disk and end the writer's thread."""
        self._writer.close()
