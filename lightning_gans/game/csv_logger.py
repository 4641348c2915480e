"""Lightning's CSV logger, with one row an update, and a file that is complete at every moment."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lightning_gans.files import written_whole


class WholeCSVLogger(CSVLogger):
    """Write ``metrics.csv`` as Lightning's logger does, but one row an update; a kill loses no rows.

    What losses, scores and callbacks log at an update stands in one row. A new column means that the file is
    written anew. Lightning empties it first: a run that is killed there loses all its rows. Here the new file
    is written beside the old one and then takes its place.
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
    _last: Mapping[str, Any] = {}  # the last row of the file, which may get more values
    _place = 0  # the byte at which it begins

    def _check_log_dir_exists(self) -> None:
        """Check nothing: the folder is the run's own, and other loggers may have begun to write there."""

    def save(self) -> None:
        if not self.metrics:
            return
        new_columns = self._record_new_keys()
        rows: dict[Any, dict[str, Any]] = {}
        for row in [self._last, *self.metrics] if self._last else self.metrics:
            rows.setdefault(row["step"], {}).update(row)
        *whole, self._last = rows.values()
        self.metrics = []
        file, earlier = Path(self.metrics_file_path), self._text(whole)
        if new_columns or not file.is_file():
            kept = file.read_bytes()[: self._place].decode() if file.is_file() else ""
            header = self._text([dict(zip(self.metrics_keys, self.metrics_keys, strict=True))])
            earlier = header + self._text(csv.DictReader(io.StringIO(kept, newline=""))) + earlier
            with written_whole(file) as part:
                part.write_bytes(earlier + self._text([self._last]))
            self._place = len(earlier)
        else:
            with file.open("r+b") as opened:
                opened.seek(self._place)
                opened.write(earlier + self._text([self._last]))
                opened.truncate()
            self._place += len(earlier)

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.metrics_keys).writerows(rows)
        return text.getvalue().encode()
