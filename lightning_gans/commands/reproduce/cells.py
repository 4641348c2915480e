"""Runs of a table's cells: each in a process and a folder of its own, resumable, one at a time."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from subprocess import DEVNULL
from threading import Event, Lock
from typing import Any

import psutil
import yaml
from filelock import FileLock, Timeout

from lightning_gans import __version__
from lightning_gans.commands.reproduce.tables import Cell
from lightning_gans.files import scores_in, write_whole

BUSY = 75  # exit code of a process whose cell another process is running
LOOK = 1.0  # seconds for which another process may hold a lock only to check the state
PATIENCE = 60.0  # seconds that a process gets to end after a signal
PROGRAMS = ("lightning-gans", "torch", "lightning")
RUN = "fit"  # the run's name: runs/fit/version_K in the cell's folder
SOURCE = Path(__file__).parents[3]  # around the package: a checkout, or where packages are installed
SPENT = ("seconds", "processor_seconds")  # what a run has taken, by its status

State = str
"""finished, failed, interrupted (goes on), running (by another process), missing, stale (other settings)."""


def read_status(folder: Path) -> dict[str, Any]:
    """Return the content of a cell's ``status.json``; empty if there is none."""
    try:
        return dict(json.loads((folder / "status.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # Damaged, by a power cut for example: the folder is then kept under another name.
    except (TypeError, ValueError):
        return {"state": "damaged", "identity": None}


def duration_of(status: Mapping[str, Any]) -> float:
    """Return the seconds that a finished run takes on a quiet machine, by its status.

    On a CPU its processor's, if the run has not waited for more of them at once: other programs may have made
    it wait. On a GPU, and of runs of older versions, those of the wall clock.
    """
    seconds = float(status["seconds"])
    on_cpu = status.get("accelerator", "cpu") == "cpu"
    return min(seconds, status.get("processor_seconds", seconds)) if on_cpu else seconds


def state(cell: Cell, locked: bool = False) -> State:
    """Return the state of a cell; ``locked``: this process holds the cell's lock."""
    status = read_status(cell.folder)
    told_the_same = status.get("identity") == cell.identity
    if told_the_same and status["state"] == "finished":
        return "finished"
    lock = _lock_path(cell.folder)
    if not locked and lock.exists():  # creates no lock file; waits while another process checks
        # A run says that it is running as soon as it has the lock: what holds that of another only looks.
        wait = 0.1 if status.get("state") == "running" else LOOK
        try:
            FileLock(lock).acquire(timeout=wait, poll_interval=0.01).lock.release()
        except Timeout:
            return "running"
        return state(cell, locked=True)
    if not status:
        return "missing"
    # Its lock is free: a cell that is marked as running has no process any more.
    return {"running": "interrupted"}.get(status["state"], status["state"]) if told_the_same else "stale"


def ended(cell: Cell, code: int) -> State:
    """Return the state of a run whose process has ended: of several cells, finished if all of them are."""
    states = [state(x) for x in cell.members or (cell,)]
    return "running" if code == BUSY else min(states, key="finished".__eq__)


def _lock_path(folder: Path) -> Path:
    """Return a cell's lock file, which lies beside its folder, as the folder may be renamed."""
    return folder.parent / f".{folder.name}.lock"


def versions(folder: Path) -> list[Path]:
    """Return the run's folders, one for each time it was started, in order."""
    found = (folder / "runs" / RUN).glob("version_*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("version_")))


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a cell's ``evaluations.jsonl``, by update.

    After a kill, the resumed run repeats the evaluations since the last checkpoint: the later line counts.
    """
    found: dict[tuple[int, str, bool, int], dict[str, Any]] = {}
    for place in versions(folder):
        for line in scores_in(place):
            # Callbacks of one class have different names; one of each class may have none.
            fitted = "fitting_capacity" in line
            found[line["update"], line["name"] or "", fitted, line.get("replica", 0)] = line
    return [found[key] for key in sorted(found)]


# ---------------------------------------------------------------------- many


def run_cells(cells: Sequence[Cell], jobs: int, done: Callable[[Cell, State, int, float], None]) -> None:
    """Run cells, some at a time, each in a process of its own.

    The processes hold the cells' locks, and go on if this one is killed. If it is interrupted, it ends them;
    their cells are resumed next time.

    Args:
        cells: The cells to run.
        jobs: Number of processes at a time.
        done: Called for each cell whose process ended, with its state, the process's exit code (below zero:
            the signal that ended it), and the seconds that it took.

    Raises:
        KeyboardInterrupt: If it was interrupted.
    """
    processes: list[subprocess.Popen[str]] = []
    starting, stopping = Lock(), Event()

    def work(cell: Cell) -> tuple[int, float]:
        started = time.monotonic()
        with starting:
            if stopping.is_set():
                return BUSY, 0.0
            processes.append(process := _start(cell, jobs))
        process.communicate(json.dumps([(x.config, str(x.folder)) for x in (cell, *cell.members)]))
        return process.returncode, time.monotonic() - started

    pool = ThreadPoolExecutor(jobs)
    try:
        left = {pool.submit(work, cell): cell for cell in cells}
        while left:
            # With a time limit, because Windows delivers Ctrl-C only between two waits.
            for future in wait(left, timeout=1, return_when=FIRST_COMPLETED).done:
                cell, (code, seconds) = left.pop(future), future.result()
                done(cell, ended(cell, code), code, seconds)
    finally:
        with starting:
            stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        _end(processes)


def _start(cell: Cell, jobs: int) -> "subprocess.Popen[str]":
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_gans.commands.reproduce", str(cell.folder)],
        env={"OMP_NUM_THREADS": threads, **os.environ},
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process only, which ends the others in order
    )


def _end(processes: "Sequence[subprocess.Popen[str]]") -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


# ---------------------------------------------------------------------- one


def main(cell: Cell) -> int:
    """Run one cell in this process, or several as replicas; return the exit code.

    The process holds the locks of all of them while it lives. Output goes to ``log.txt``.
    """
    try:
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            for x in (cell, *cell.members):
                held.enter_context(FileLock(_lock_path(x.folder), timeout=LOOK))
            return _run_all(cell) if cell.members else _run(cell)
    except Timeout:
        return BUSY
    except OSError as error:  # the log cannot be made, or the disk is full
        print(f"{cell.folder}: {error}", file=sys.stderr)
        return 1


def _run_all(cell: Cell) -> int:
    """Run the cell of several, and make a finished cell of each of them that is not."""
    left = {r: x for r, x in enumerate(cell.members) if state(x, locked=True) != "finished"}
    about = {"joint": cell.folder.name, "replicas": len(cell.members)}
    for member in left.values():
        _make_folder(member)
        write_whole(member.folder / "config.yaml", yaml.safe_dump(dict(member.config), sort_keys=False))
        _write_status(member, {**about, "identity": member.identity, "state": "running"})
    code = _run(cell)
    status = read_status(cell.folder)
    if code == 0:
        from lightning_gans.commands.reproduce.split import split

        try:
            places = {r: member.folder / "runs" / RUN / "version_0" for r, member in left.items()}
            split(versions(cell.folder), evaluations(cell.folder), places, cell.seed)
        except Exception as error:
            traceback.print_exc()
            code, status = 1, {**status, "state": "failed", "error": str(error)}
    for member in left.values():
        shares = {name: status[name] / len(cell.members) for name in SPENT}
        _write_status(member, {**status, **about, "identity": member.identity, **shares})
    if code == 0:
        # Of no settings any more: if its cells are removed, they are run anew.
        _write_status(cell, {**status, "identity": None, "state": "split"})
    return code


def _make_folder(cell: Cell) -> None:
    """Make a cell's folder; what other settings have left there is kept under another name."""
    folder, number = cell.folder, 1
    if state(cell, locked=True) == "stale":
        while (kept := folder.with_name(f"{folder.name}.stale-{number}")).exists():
            number += 1
        folder.rename(kept)
    folder.mkdir(exist_ok=True)


def _write_status(cell: Cell, status: Mapping[str, Any]) -> None:
    write_whole(cell.folder / "status.json", json.dumps(status, indent=1))


def _run(cell: Cell) -> int:
    folder, before = cell.folder, state(cell, locked=True)
    if before == "finished":
        return 0
    _make_folder(cell)
    _speak_into(folder / "log.txt")
    checkpoint, took = _checkpoint(folder) if before in ("interrupted", "failed") else (None, 0.0)
    seconds, processor_seconds = _spent_before(read_status(folder), checkpoint, took)
    arguments = ["fit", "--config", str(folder / "config.yaml"), "--name", RUN]
    arguments += ["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false"]
    arguments += ["--ckpt_path", str(checkpoint)] if checkpoint else []
    status: dict[str, Any] = {
        "identity": cell.identity,
        "state": "running",
        "started": psutil.Process().create_time(),
        "before": seconds,
        "processor_before": processor_seconds,
        "command": shlex.join(["lightning-gans", *arguments]),
        "revision": revision(),
        **machine(cell.config),
    }
    write_whole(folder / "config.yaml", yaml.safe_dump(dict(cell.config), sort_keys=False))
    _write_status(cell, status)
    print(f"$ {status['command']}", flush=True)
    from lightning_gans.callbacks.checkpoint import is_finished

    # Killed after its end, before that was written down: there is nothing left to do.
    over = checkpoint is not None and is_finished(checkpoint) and evaluations(folder)
    status["state"] = "finished" if over or _fit(arguments, folder) else "failed"
    status["seconds"] = status["before"] + time.time() - status["started"]
    status["processor_seconds"] = status["processor_before"] + time.process_time()
    status["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if status["state"] == "failed":
        status["error"] = last_line(folder / "log.txt")
    _write_status(cell, status)
    return 0 if status["state"] == "finished" else 1


def _fit(arguments: Sequence[str], folder: Path) -> bool:
    """Run ``fit``; return whether it went well and left evaluations."""
    from lightning_gans.commands.main import main as command

    try:
        command(arguments)
        if evaluations(folder):
            return True
        print("there is no evaluation: the run has no Evaluate or FittingCapacity callback, or no logger")
    except SystemExit as stop:
        if stop.code != 2:  # the exit code of a signal
            raise
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return False


def _speak_into(path: Path) -> None:
    """Send all output of this process, that of libraries too, to a file."""
    with path.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)


def _checkpoint(folder: Path) -> tuple[Path | None, float]:
    """Return the checkpoint from which a run goes on, and the processor seconds of the process that wrote it.

    None if the run starts anew.
    """
    from lightning_gans.game.checkpoints import read_checkpoint

    found = [place / "checkpoints" / "last.ckpt" for place in versions(folder)]
    path = next((path for path in reversed(found) if path.is_file()), None)
    if path is None:
        return None, 0.0
    try:
        stored = read_checkpoint(path)
    except Exception as error:
        print(f"{path} cannot be read, the run starts anew: {error}", flush=True)
        return None, 0.0
    states = stored.get("callbacks", {})
    taken = [x.get("processor_seconds", 0.0) for name, x in states.items() if name.startswith("Checkpoint")]
    return path, sum(taken)


def _spent_before(status: Mapping[str, Any], checkpoint: Path | None, took: float) -> tuple[float, float]:
    """Return the seconds that earlier processes took up to a checkpoint, of the clock and of the processor.

    Args:
        status: What the last of them wrote when it began.
        checkpoint: The checkpoint; None: the run starts anew.
        took: Processor seconds of the process that wrote it.
    """
    if checkpoint is None:
        return 0.0, 0.0
    seconds, processor_seconds = status["before"], status.get("processor_before", 0.0)
    written = checkpoint.stat().st_mtime
    if written < status["started"]:  # the last process ended before its first one: these are all
        return seconds, processor_seconds
    return seconds + written - status["started"], processor_seconds + took


def revision(source: Path = SOURCE) -> str:
    """Return the commit of this package's source tree, with a + if it was changed since; else its version."""
    if not (source / ".git").exists():  # installed, maybe below a checkout of something else
        return __version__
    git = ["git", "-C", str(source)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True, stderr=DEVNULL)
        changed = subprocess.call([*git, "diff", "--quiet", "HEAD", "--", "lightning_gans", "recipes"])
    except (OSError, subprocess.CalledProcessError):  # no git, no commit, or git does not trust the owner
        return __version__
    return commit.strip() + "+" * bool(changed)


def machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return versions and hardware, to be stored with measured figures."""
    import torch

    accelerator, device = "cpu", platform.processor() or platform.machine()
    if torch.cuda.is_available() and (config.get("trainer") or {}).get("accelerator") != "cpu":
        accelerator, device = "cuda", torch.cuda.get_device_name()
    elif (about := Path("/proc/cpuinfo")).is_file():
        names = re.findall(r"^model name\s*: (.*)", about.read_text(), re.MULTILINE)
        device = names[0] if names else device
    return {
        "accelerator": accelerator,
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: __version__ if name == "lightning-gans" else version(name) for name in PROGRAMS},
    }


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1].removeprefix("lightning-gans: ") if said else ""
