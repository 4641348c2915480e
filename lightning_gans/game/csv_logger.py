"""Lightning's CSV logger, with a file that is complete at every moment."""

import csv
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lightning_gans.files import written_whole


class WholeCSVLogger(CSVLogger):
    """Write ``metrics.csv`` as Lightning's logger does; a kill while a column is added loses no rows.

    A new column means that the file is written anew. Lightning empties it first: a run that is killed there
    loses all its rows. Here the new file is written beside the old one and then takes its place.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = _Writer(log_dir=self.log_dir)
        assert isinstance(self._experiment, ExperimentWriter)
        return self._experiment


class _Writer(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        file = Path(self.metrics_file_path)
        with written_whole(file) as part, file.open(newline="") as old, part.open("w", newline="") as new:
            writer = csv.DictWriter(new, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(csv.DictReader(old))
