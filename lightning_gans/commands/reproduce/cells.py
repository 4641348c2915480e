"""Runs of a table's cells: each in a process and a folder of its own, resumable, one at a time."""

import fcntl
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import yaml
from filelock import FileLock, Timeout

from lightning_gans.commands.reproduce.tables import Cell

BUSY = 75  # exit code of a process that found its cell taken
PATIENCE = 20.0  # seconds for a process to end after it was asked to
RUN = "fit"  # the run's name: runs/fit/version_K in the cell's folder

State = str
"""finished, failed, interrupted (goes on), running (by another process), missing, stale (told else)."""


def read_status(folder: Path) -> dict[str, Any]:
    """Return what a cell's ``status.json`` says; nothing where there is none."""
    try:
        return dict(json.loads((folder / "status.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (TypeError, ValueError):  # a power cut: of no known identity, so it is kept aside
        return {"state": "damaged", "identity": None}


def state(cell: Cell) -> State:
    """Return how a cell stands."""
    if not cell.folder.is_dir():
        return "missing"
    status = read_status(cell.folder)
    if (status.get("state"), status.get("identity")) == ("finished", cell.identity):
        return "finished"
    try:
        # Whoever only looks shares the lock with others who do, and makes no file.
        with _lock_path(cell.folder).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _unlocked_state(cell.folder, cell.identity)
    except FileNotFoundError:
        return _unlocked_state(cell.folder, cell.identity)
    except BlockingIOError:
        return "running"


def _unlocked_state(folder: Path, identity: str) -> State:
    status = read_status(folder)
    if not status:
        return "missing"
    if status["identity"] != identity:
        return "stale"
    # Its process has gone without a word.
    return "interrupted" if status["state"] == "running" else str(status["state"])


def _lock_path(folder: Path) -> Path:
    """Return a cell's lock file. Not inside of its folder, which may be moved away."""
    return folder.parent / f".{folder.name}.lock"


def versions(folder: Path) -> list[Path]:
    """Return the run's folders, one for each time it was started, in order."""
    found = (folder / "runs" / RUN).glob("version_*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("version_")))


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a cell's ``evaluations.jsonl``, by update.

    What a killed run had evaluated after its last checkpoint, its continuation evaluates again: the later
    line counts.
    """
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for place in versions(folder):
        path = place / "evaluations.jsonl"
        for text in path.read_text().splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # the process died while it wrote
                continue
            found[line["update"], line["name"] or ""] = line
    return [found[key] for key in sorted(found)]


# ---------------------------------------------------------------------- many


def run(
    cells: Sequence[Cell], jobs: int, done: Callable[[Cell, State, int, float], None], poll: float = 0.1
) -> None:
    """Run cells, some at a time, each in a process of its own.

    The processes hold the cells' locks, and go on if this one is killed. If it is interrupted (Ctrl-C,
    SIGTERM), it ends them; their cells are resumed next time.

    Args:
        cells: Which.
        jobs: How many at a time.
        done: Is told each cell whose process ended, its state, the process's exit code (below zero: the
            signal that ended it), and the seconds that it took.
        poll: Seconds between two looks at the processes.

    Raises:
        KeyboardInterrupt: If it was interrupted.
    """
    waiting = list(reversed(cells))
    running: dict[subprocess.Popen[str], tuple[Cell, float]] = {}
    with _terminated_as_interrupted():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop()
                    running[_start(cell, jobs)] = cell, time.monotonic()
                for process in [process for process in running if process.poll() is not None]:
                    cell, started = running.pop(process)
                    ended = "running" if process.returncode == BUSY else state(cell)
                    done(cell, ended, process.returncode, time.monotonic() - started)
                time.sleep(poll if running else 0)
        finally:
            _end(list(running))


def _start(cell: Cell, jobs: int) -> "subprocess.Popen[str]":
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_gans.commands.reproduce", str(cell.folder)],
        env={"OMP_NUM_THREADS": threads, **os.environ},
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process only, which ends the others in order
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"identity": cell.identity, "config": cell.config}))
    process.stdin.close()
    return process


def _end(processes: "list[subprocess.Popen[str]]") -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the processes too; only the main thread may say so."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------------- one


def main(folder: Path, identity: str, config: Mapping[str, Any]) -> int:
    """Run one cell in this process; return the exit code.

    The process holds the cell's lock while it lives. Output goes to ``log.txt``.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_path(folder), timeout=1):  # another process may be looking at it
            return _run(folder, identity, config)
    except Timeout:
        return BUSY
    except OSError as error:  # there is no log, or no room in it
        print(f"{folder}: {error}", file=sys.stderr)
        return 1


def _run(folder: Path, identity: str, config: Mapping[str, Any]) -> int:
    before = _unlocked_state(folder, identity)
    if before == "finished":
        return 0
    if before == "stale":
        number = 1
        while (kept := folder.with_name(f"{folder.name}.stale-{number}")).exists():
            number += 1
        folder.rename(kept)
    folder.mkdir(parents=True, exist_ok=True)
    _speak_into(folder / "log.txt")
    status: dict[str, Any] = {"identity": identity, "before": 0.0, "started": psutil.Process().create_time()}
    try:
        resumed = before in ("interrupted", "failed")
        _fit(folder, config, status, _checkpoint(folder, config) if resumed else None)
        ended = "finished"
        if not evaluations(folder):
            print("there is no evaluation: the run has no Evaluate callback, or no logger")
            ended = "failed"
    except SystemExit as stop:
        if stop.code != 2:  # of a signal
            raise
        ended = "failed"
    except Exception:
        traceback.print_exc()
        ended = "failed"
    sys.stdout.flush()
    sys.stderr.flush()
    status["state"] = ended
    status["seconds"] = status["before"] + time.time() - status["started"]
    if ended == "failed":
        status["error"] = last_line(folder / "log.txt")
    write(folder / "status.json", json.dumps(status, indent=1))
    return 0 if ended == "finished" else 1


def _fit(folder: Path, config: Mapping[str, Any], status: dict[str, Any], checkpoint: Path | None) -> None:
    """Run ``fit``; put into the status, and on disk, what is known at the start."""
    arguments = ["fit", "--config", str(folder / "config.yaml"), "--name", RUN]
    arguments += ["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false"]
    arguments += [] if checkpoint is None else ["--ckpt_path", str(checkpoint)]
    status["state"] = "running"
    status["before"] = _spent(folder, checkpoint)
    status["command"] = shlex.join(["lightning-gans", *arguments])
    status.update(machine(config))
    write(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    write(folder / "status.json", json.dumps(status, indent=1))
    print(f"$ {status['command']}", flush=True)
    from lightning_gans.commands.cli import main as command

    command(arguments)


def _speak_into(path: Path) -> None:
    """Send all output of this process, that of libraries too, to a file."""
    with path.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)


def _checkpoint(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """Return where a run goes on."""
    from lightning_gans.game.checkpoints import read_checkpoint

    for place in reversed(versions(folder)):
        path = place / "checkpoints" / "last.ckpt"
        if path.is_file():
            try:
                update = read_checkpoint(path)["global_step"]
            except Exception as error:
                print(f"{path} cannot be read, the run starts anew: {error}", flush=True)
                return None
            over = update >= (config.get("trainer") or {}).get("max_steps", float("inf"))
            # Killed between its last checkpoint and its last evaluation: Lightning would do nothing more.
            lost = over and all(line["update"] < update for line in evaluations(folder))
            return None if lost else path
    return None


def _spent(folder: Path, checkpoint: Path | None) -> float:
    """Return the seconds in which an earlier process got as far as its checkpoint."""
    if checkpoint is None:
        return 0.0
    earlier = read_status(folder)
    seconds: float = earlier["before"] + max(0.0, checkpoint.stat().st_mtime - earlier["started"])
    return seconds


def machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return versions and hardware, which belong to a measured figure."""
    import torch

    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    gpu = torch.cuda.is_available() and (config.get("trainer") or {}).get("accelerator") != "cpu"
    device = torch.cuda.get_device_name() if gpu else processor
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "lightning", "lightning-gans")},
    }


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("lightning-gans: ") if lines else "it said nothing"


def write(path: Path, content: str | bytes) -> None:
    """Write a file that is whole at every moment, after a power cut too."""
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
