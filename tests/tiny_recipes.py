"""How each recipe is made small enough to be tried."""

from pathlib import Path

import yaml
from PIL import Image

from lightning_gans.files import recipes_folder
from tests.data.test_official import write_celeba, write_cifar10, write_lmdb
from tests.tiny_data import write_pictures


def smaller(name):
    """Write the data of a recipe of a game below ``data``; return the options that make the game small."""
    options, text = (), (recipes_folder() / f"{name}.yaml").read_text()
    for kind, write in (("cifar10", write_cifar10), ("celeba", write_celeba)):
        if kind in name:
            write(Path("data"))
            options = ("--data.verify", "false", *(("--data.image_size", 32) if kind == "celeba" else ()))
    for path in Path("data/celeba").glob("*/*.jpg"):  # bright ones of one colour look like [0, 1]
        Image.effect_noise((178, 218), 100).convert("RGB").save(path)
    if name == "coulomb/lsun":
        for split in ("train", "val"):
            write_lmdb(Path(f"data/bedroom_{split}_lmdb"), range(20))
        options = ("--data.image_size", 32)
    if name in ("coulomb/celeba", "coulomb/cifar10", "coulomb/lsun"):  # 35 million weights
        for player, network in (("generator", "CoulombGenerator"), ("discriminator", "CoulombDiscriminator")):
            options = (*options, f"--model.{player}", network, f"--model.{player}.width", 16)
    if name == "deligan/cifar10":
        options = (*options, "--data.limit", 40)
    if "Threshold" in text:  # else it trains the discriminator alone for hundreds of updates first
        options = (*options, "--model.schedule.start", 0.1, "--model.schedule.floor", 0.1)
    if name.endswith("stacked_mnist"):
        options = (*options, "--data.samples", 40)
    paper = name.partition("/")[0]
    if paper in ("acgan", "gold"):  # 17 million weights
        for player in ("generator", "discriminator"):
            hidden = (f"--model.{player}.hidden", 16) if name.endswith("/mnist") else ()
            options = (*options, f"--model.{player}.width", 4, *hidden)
    if paper == "diwgan":
        options = (*options, "--model.encoder_updates", 1, "--model.max_error", 100, "--model.num_real", 16)
    if paper in ("pix2pix", "cyclegan"):
        folder = yaml.safe_load(text)["data"]["init_args"].get("folder")
        for split in ("train", "val"):
            write_pictures(Path("data", folder or "facades", split), 8, 64, 64 if folder == "photos" else 128)
        options = (*options, "--model.generator.width", 4, "--model.discriminator.width", 4)
        size = 64 if "small" in name else 80 if paper == "cyclegan" else 128
        options = (*options, "--data.image_size", size)
    if name == "acgan/active-mnist":
        rounds = ("--trainer.callbacks.every_n_updates", 1, "--trainer.callbacks.rounds", 2)
        hidden = ("--model.generator.hidden", 16, "--model.discriminator.hidden", 16)
        options = (*options, *rounds, *hidden)
    return options
