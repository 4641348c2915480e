"""What a run was made of, told to its loggers."""

from importlib.metadata import version
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from lightning_gans import __version__
from lightning_gans.networks.rebuild import NotRebuildable, Rebuildable, class_path, describe

PACKAGES = ("lightning", "torch")


def log_settings(
    trainer: Trainer, module: LightningModule, datamodule: LightningDataModule | None, more: dict[str, Any]
) -> None:
    """Give all loggers the settings of a run, nested: model, data, trainer, seed, versions.

    Lightning would mix the arguments of model and data in one flat dict, without their classes.

    Args:
        trainer: The trainer of the run.
        module: Its model.
        datamodule: Its data, if they have a module.
        more: Further settings; they replace those that have the same names.
    """
    # Without a data module: what the loader reads.
    data = datamodule or trainer.fit_loop._data_source.instance
    for owner in (module, datamodule):
        if owner is not None:
            owner._log_hyperparams = False
    if not trainer.enable_autolog_hparams:
        return
    settings = {
        "model": _as_class(module),
        "data": _as_class(getattr(data, "dataset", data)),
        "trainer": {
            "max_steps": trainer.max_steps,
            "max_epochs": trainer.max_epochs,
            "precision": trainer.precision,
            "devices": trainer.world_size,
            "callbacks": [type(callback).__name__ for callback in trainer.callbacks],  # type: ignore[attr-defined]
        },
        "seed": torch.initial_seed(),
        "versions": versions(),
        **more,
    }
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)


def versions() -> dict[str, str]:
    """Return the versions of this package and of those that decide what it computes."""
    return {"lightning-gans": __version__, **{package: version(package) for package in PACKAGES}}


def _as_class(thing: Any) -> dict[str, Any]:
    given = thing._arguments if isinstance(thing, Rebuildable) else getattr(thing, "hparams", {})
    arguments = {}
    for name, value in given.items():
        if name.startswith("_"):  # Lightning's own
            continue
        try:
            arguments[name] = describe(value)
        except NotRebuildable:
            arguments[name] = class_path(type(value))
    return {"class_path": class_path(type(thing)), "init_args": arguments}
