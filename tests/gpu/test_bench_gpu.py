"""benchmarks/gpu.py, small and on the CPU."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

import lightning_gans

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

WITHOUT = """
import importlib.metadata, sys

missing = ("wandb", "torch_fidelity", "torch-fidelity", "jsonargparse", "docstring_parser", "lmdb", "gdown",
    "tensorboard", "lightning-gans")
find = importlib.metadata.distribution

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def distribution(name):
    if name in missing:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)

sys.meta_path.insert(0, Missing())
importlib.metadata.distribution = distribution
sys.path.insert(0, sys.argv[1])

import gpu

sys.exit(gpu.main(["--device", "cpu", "--tiny", "--only", "wgan-gp", "mnist"]))
"""


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    return gpu


@pytest.fixture
def images():
    """A folder of images, of two classes."""
    rng = torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        for name in ("cat", "ship"):
            folder = Path("images", split, name)
            folder.mkdir(parents=True)
            for index in range(16):
                picture = torch.randint(256, (3, 16, 16), dtype=torch.uint8, generator=rng)
                to_pil_image(picture).save(folder / f"{index}.png")
    return str(Path("images").absolute())


def run(gpu, *arguments):
    status = gpu.main(["--device", "cpu", "--tiny", "--json", "out/result.json", *arguments])
    return status, json.loads(Path("out/result.json").read_text())["rows"]


@pytest.mark.parametrize(
    "games", [("wgan-gp",), pytest.param(("dcgan-128", "cyclegan"), marks=pytest.mark.slow)]
)
def test_parts(gpu, images, monkeypatch, games):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", "cache")
    status, rows = run(gpu, "--only", *games, "pix2pix", "mnist", "cifar10", "--cifar", images)
    assert status == 0
    for part in (*games, "pix2pix"):
        own = {row["name"]: row for row in rows if row["part"] == part}
        assert all(row["images/s"] > 0 and row["ratio"] > 0 for row in own.values())
        if part in ("dcgan-128", "wgan-gp"):
            assert set(gpu.VARIANTS) < set(own)
            assert len(own) == len(gpu.VARIANTS) + 1
        else:
            assert own
    assert {"classifier", "DCGAN"} == {row["name"] for row in rows if row["part"] == "mnist"}
    scores = {row["name"]: row.get("FID") for row in rows if row["part"] == "cifar10"}
    assert all(scores[name] > 0 for name in gpu.GAMES)


def test_goes_on_after_a_part_without_data(gpu, capsys):
    status, rows = run(gpu, "--only", "cifar10", "mnist", "--cifar", "nowhere")
    assert status == 0
    assert [row["name"] for row in rows if row["part"] == "cifar10"] == ["skipped"]
    assert "DCGAN" in {row["name"] for row in rows if row["part"] == "mnist"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_prints_and_writes_what_is_done(gpu, monkeypatch, capsys, number):
    def first(bench, part, seconds):
        bench.add(part, "done", seconds=1.0)

    def second(bench, part, seconds):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(gpu, "PARTS", {"one": (first, 1), "two": (second, 1), "three": (first, 1)})
    before = signal.getsignal(number)
    status, rows = run(gpu)
    assert status == 128 + number
    assert [row["part"] for row in rows] == ["one"]
    assert "done" in capsys.readouterr().out.split("this is done")[1]
    assert signal.getsignal(number) is before


def test_a_part_that_hangs_is_ended(gpu, monkeypatch):
    def hangs(bench, part, seconds):
        with gpu.limit(0.01):
            while True:
                pass

    monkeypatch.setattr(gpu, "PARTS", {"one": (hangs, 1), "two": (lambda *_: 1 / 0, 1)})
    status, rows = run(gpu)
    assert status == 1
    assert [row["name"] for row in rows] == ["stopped", "failed"]


def test_optional_packages_are_imported_where_they_are_used():
    optional = {"wandb", "torch_fidelity", "jsonargparse", "lmdb", "gdown", "tensorboard"}
    package = Path(lightning_gans.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            early = {name.split(".")[0] for name in names} & optional
            assert not early or path.relative_to(package).parts[0] == "commands", (path, early)


@pytest.mark.slow
def test_runs_where_the_package_is_not_installed_and_optional_ones_are_missing():
    command = [sys.executable, "-c", WITHOUT, str(BENCHMARKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "CUDA graphs" in done.stdout
    assert Path("runs/bench-gpu.json").is_file()
