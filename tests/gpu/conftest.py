"""Results as they come, for benchmarks/gpu.py: a run that is stopped has not written pytest's own report."""

import json
import os
from pathlib import Path


class Results:
    """Writes a line for each test that has ended."""

    def __init__(self, path):
        self.path = Path(path)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            lines = [line[1:].strip() for line in report.longreprtext.split("\n") if line.startswith("E ")]
            row = {"name": report.nodeid.split("::")[-1], "outcome": report.outcome, "message": lines[:1]}
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def pytest_configure(config):
    path = os.environ.get("LIGHTNING_GANS_TEST_RESULTS")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(path))
