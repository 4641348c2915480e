"""The programs and commands of the documentation, and how tests make them small."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))

TINY = "--trainer.max_steps 2 --trainer.limit_val_batches 1 --trainer.enable_progress_bar false"
SMALL_BATCH = f"{TINY} --data.batch_size 8"
JUDGED = "--trainer.callbacks.num_samples 40"
NO_SCORES = "--trainer.callbacks []"  # Inception's weights cannot be had here, or scores take long
NARROW = (
    "--model.generator CoulombGenerator --model.generator.width 16 "
    "--model.discriminator CoulombDiscriminator --model.discriminator.width 16"
)
SMALL_FACES = f"{SMALL_BATCH} --data.image_size 32 --data.verify false"
SMALL_PAIRS = "--data.image_size 64 --model.generator.width 4 --model.discriminator.width 4"
UNCHECKED = "--data.verify false"
FEW = "--data.limit 40"
THIN = "--model.generator.width 8 --model.discriminator.width 8"
FEW_LABELS = "--num_labels 10 --draws 1"
QUICK_ENCODER = "--model.encoder_updates 2 --model.max_error 100"

SHRUNK = [
    (r"make .*", None),  # what .ci runs
    (r"pip .*", None),  # what CI runs
    (r"(CUDA_VISIBLE_DEVICES=\d )?(wandb|hf) .*", None),  # need an account
    (r"python \w+\.py", ""),
    (r"[A-Z]+=\S+", ""),
    (r"lightning-gans (recipes|sweep .*|reproduce .* --(dry-run|as-sweep))", ""),
    (r"lightning-gans reproduce my_table.yaml", "--seeds 0"),
    (r"lightning-gans reproduce rings.yaml .*", ""),
    (r"lightning-gans reproduce .*", "--dry-run"),
    (r"lightning-gans preview .*", "--seconds 0.1"),
    (r"lightning-gans sample .*--rejected true.*", None),  # of a game that has hardly trained, none are
    (r"lightning-gans sample .*--rejection.*", "--n 4 --num_calibration 40"),
    (r"lightning-gans sample .*", "--n 4"),
    # A game that has hardly trained makes no digits that a classifier finds.
    (r"lightning-gans latent interpolate .*", ""),
    (r"lightning-gans latent arithmetic .*", "--a [0] --b [1] --c [2]"),
    (r"lightning-gans latent walk .*", "--a [0] --b [1]"),
    (r"lightning-gans translate .*", ""),
    (r"lightning-gans features .*--draws 0", ""),
    (r"lightning-gans features .*--data (CIFAR10|SVHN).*", f"{FEW_LABELS} --baselines false {UNCHECKED}"),
    (r"lightning-gans features .*", FEW_LABELS),
    (r"lightning-gans evaluate .*--rejection.*", "--n 40 --num_calibration 40"),
    (r"lightning-gans evaluate .*cifar10.train.npz.*", None),  # needs Inception's weights
    (r"lightning-gans evaluate (--ckpt_path \S+|.*--extractor .*)", "--n 40"),
    (r"lightning-gans evaluate .*", "--n 40 --metrics [SWD]"),
    (r"lightning-gans dedup .*", "--epochs 1"),
    (r"lightning-gans export .*", ""),
    (r"lightning-gans study .*", "--practice 2 --trials 4 --size 32"),
    (r"lightning-gans study-score .*", ""),
    (r"lightning-gans exhibits.*", ""),
    (r"lightning-gans fitting-capacity .*", "--epochs 1 --seeds 1 --samples_per_epoch 500 --real false"),
    (r"lightning-gans fit --config my_recipe.yaml .*", "--trainer.max_steps 100"),
    (r"lightning-gans fit .*--data (Digits|my_data\.Stripes) .*", "--trainer.max_steps 20"),
    (r"lightning-gans fit --config classifier/cifar10", f"{SMALL_BATCH} {UNCHECKED}"),
    (r"lightning-gans fit --config classifier/\w+", f"{SMALL_BATCH} --trainer.max_epochs -1"),
    (
        r"lightning-gans fit --config segmenter/[\w-]+",
        f"{SMALL_BATCH} --trainer.max_epochs -1 --data.image_size 32",
    ),
    (r"lightning-gans fit --config realness/cifar10", f"{SMALL_BATCH} {UNCHECKED} {NO_SCORES}"),
    (
        r"lightning-gans fit --config deligan/cifar10",
        f"{SMALL_BATCH} {UNCHECKED} {NO_SCORES} --data.limit 40",
    ),
    (r"lightning-gans fit --config deligan/mnist.*", f"{SMALL_BATCH} {NO_SCORES}"),
    (r"lightning-gans fit --config coulomb/cifar10", f"{SMALL_BATCH} {UNCHECKED} {NO_SCORES} {NARROW}"),
    (r"lightning-gans fit --config realness/celeba256", f"{SMALL_FACES} {NO_SCORES}"),
    (r"lightning-gans fit --config coulomb/celeba", f"{SMALL_FACES} {NO_SCORES} {NARROW}"),
    (r"lightning-gans fit --config coulomb/lsun", f"{SMALL_BATCH} {NO_SCORES} {NARROW} --data.image_size 32"),
    (
        r"lightning-gans fit --config (coulomb/ring|coulomb/grid|deligan/bimodal|deligan/mnist|my.yaml).*",
        SMALL_BATCH,
    ),
    (r"lightning-gans fit --config diwgan/.*", f"{SMALL_BATCH} {JUDGED} {QUICK_ENCODER}"),
    (r"lightning-gans fit --config (acgan|gold)/.*", f"{SMALL_BATCH} {NO_SCORES}"),
    (r"lightning-gans fit --config (pix2pix|cyclegan)/.*", f"{SMALL_BATCH} {NO_SCORES} {SMALL_PAIRS}"),
    (r"(torchrun .* -m lightning_gans|lightning-gans) fit --config .*", f"{SMALL_BATCH} {JUDGED}"),
    (r"lightning-gans fit --ckpt_path .*", "--trainer.max_steps 4"),
    (r"lightning-gans fit --model my_pairs_game.*", ""),
    (r"lightning-gans fit --model DCGAN --data galaxies.*", f"{SMALL_BATCH} {FEW}"),
    (r"lightning-gans fit --model DCGAN .*DCGANImageNet.*", f"{SMALL_BATCH} {THIN}"),
    (r"lightning-gans fit --model DCGAN .*", SMALL_BATCH),
]
"""What is appended to a command, by the first pattern that it matches whole; None: it is not run, and why."""


def blocks(page, language):
    """Yield the title, or "", and the content of the code blocks of a page."""
    fence = rf'```{language}(?: title="([^"]+)")?\n(.*?)```'
    yield from re.findall(fence, page.read_text(), re.DOTALL)


def made_pictures(page):
    """Return the pictures of a page that its commands make: their titles are the files' names."""
    return re.findall(r"!\[[^\]]*\]\(\S+ \"([^\"]+)\"\)", page.read_text())


def commands(block):
    """Return the commands of a block, a line each, without comments."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines) if line]


def shrunk(command):
    """Return a command as a test runs it, or None if it does not."""
    for pattern, appended in SHRUNK:
        if re.fullmatch(pattern, re.sub(r"\s+", " ", command)):
            return None if appended is None else f"{command} {_quoted(appended)}".strip()
    raise AssertionError(f"a new kind of command: say in tests/documented.py how it is made small: {command}")


def _quoted(appended):
    return " ".join(map(shlex.quote, appended.split()))


def of_page(page):
    return [command for _, block in blocks(page, "bash") for command in commands(block)]


def of_recipe(path):
    return re.findall(r"^# Command: (.*)", path.read_text(), re.MULTILINE)
