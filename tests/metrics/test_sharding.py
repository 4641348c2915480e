"""Samples spread over two processes give the scores of one, whatever order they come in."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gans.data import GaussianMixtures
from lightning_gans.metrics import Contract
from lightning_gans.metrics.balance import ClassBalance
from lightning_gans.metrics.diversity import LPIPSDiversity, PerClassLPIPSDiversity
from lightning_gans.metrics.mixture import MixtureJSD, ModeCoverage
from lightning_gans.metrics.neighbours import FeatureNeighbours, NearestNeighbours
from lightning_gans.metrics.paired import L1, LPIPS, PSNR
from lightning_gans.metrics.parzen import ParzenLikelihood
from lightning_gans.metrics.segmentation import FCNScore
from lightning_gans.metrics.stacked import StackedModes
from lightning_gans.metrics.swd import SWD

N = 23


class Difference(nn.Module):
    def forward(self, first, second):
        return (first - second).abs().mean((1, 2, 3))


def metrics():
    ring = GaussianMixtures("ring")
    return {
        "swd": SWD(16, patches=8, directions=8),
        "stacked": StackedModes(10),
        "balance": ClassBalance(),
        "neighbours": NearestNeighbours(9, 3),
        "feature_neighbours": FeatureNeighbours(9, 3),
        "segmentation": FCNScore(4, palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]),
        "diversity": LPIPSDiversity(20, 50, Difference()),
        "class_diversity": PerClassLPIPSDiversity(10, 20, 3, Difference()),
        "l1": L1(),
        "psnr": PSNR(),
        "lpips": LPIPS(Difference()),
        "mixture": ModeCoverage(ring.means, ring.covariances),
        "cells": MixtureJSD(ring.means, ring.covariances),
        "parzen": ParzenLikelihood(num_validation=5),
    }


def data(real):
    generator = torch.Generator().manual_seed(int(real))
    images = torch.randint(256, (N, 3, 16, 16), dtype=torch.uint8, generator=generator)
    if real:
        images[11] = images[3]  # as near as each other
    return {
        "images": images,
        "features": torch.randn(N, 4, generator=generator),
        "logits": torch.randn(N, 5, generator=generator),
        "labels": torch.randint(10, (N,), generator=generator),
        "modes": torch.randint(10, (N,), generator=generator),
        "targets": images.roll(1, 0),
        "label_maps": torch.randint(4, (N, 16, 16), generator=generator),
        "samples": torch.randn(N, 2, generator=generator),
        "index": torch.arange(N),
        "order": torch.arange(N),
    }


def scores(rank, ranks):
    found = {}
    generator = torch.Generator().manual_seed(ranks)
    sides = {real: data(real) for real in (False, True)}
    for idle in (False, True):  # the second time, one rank has nothing
        for name, metric in metrics().items():
            contract = Contract(metric)
            for real, values in sides.items():
                if real and not contract.compares:
                    continue
                order = torch.randperm(N, generator=generator)
                order = (
                    order if ranks == 1 or (idle and rank == 0) else order[:0] if idle else order[rank::ranks]
                )
                neighbours = isinstance(metric, NearestNeighbours)
                for part in order.split(5) if len(order) or (neighbours and real) else ():
                    arguments = [values[want][part] for want in contract.wants]
                    metric.update(*arguments, **({"real": real} if contract.compares else {}))
            found[name, idle] = metric.compute()
            if neighbours:
                found[name, idle] |= metric.nearest._asdict()
    return found


def work(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.save(scores(rank, 2), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    # Forked, as the workers of a DataLoader: spawned ones would import everything again.
    torch.multiprocessing.start_processes(work, (str(folder),), nprocs=2, start_method="fork")
    return scores(0, 1), *(torch.load(folder / f"{rank}.pt") for rank in (0, 1))


@pytest.mark.parametrize("idle", [False, True], ids=["shared", "idle"])
@pytest.mark.parametrize("name", metrics())
def test_two_processes_are_one(name, idle, results):
    one, first, second = (result[name, idle] for result in results)
    assert list(one) == list(first) == list(second)
    for key, score in one.items():
        np.testing.assert_array_equal(first[key].numpy(), score.numpy(), err_msg=key)
        np.testing.assert_array_equal(second[key].numpy(), score.numpy(), err_msg=key)


@pytest.mark.parametrize("name", metrics())
def test_common_shape(name, results):
    metric = Contract(metrics()[name])
    assert set(metric.wants) <= set(data(False))
    assert (metric.real_needs is not None) == metric.compares
    for key, score in results[0][name, False].items():
        if key in ("samples", "distances", "indices"):
            continue
        assert score.dtype == torch.float64, key
        assert score.dim() == (1 if key.endswith("_per_class") else 0), key
