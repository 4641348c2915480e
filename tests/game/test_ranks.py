"""Two processes on gloo, and processes that Lightning spawns."""

import pytest
import torch
from torch import nn

from lightning_gans import GAN
from lightning_gans.callbacks import Checkpoint
from tests.conformance.games import digits, game, ring, trainer


@pytest.fixture
def ranks(on_ranks):
    return on_ranks("tests.game.two_ranks")


def test_unequal_parts_of_a_batch_count_by_their_samples(ranks):
    first, second = (rank["uneven"] for rank in ranks)
    assert (first["sizes"], second["sizes"]) == ([16, 5], [16, 4])
    assert first["off"] == second["off"] < 1e-6
    assert first["moved"] > 1e-3


def test_all_ranks_score_and_draw_from_one_generator(ranks):
    first, second = (rank["norm"] for rank in ranks)
    assert first["before"] != second["before"]  # each has normalised other samples
    assert first["after"] == second["after"]
    assert first["samples"] == second["samples"]


def test_scores_and_held_out_losses_are_those_of_all_ranks_and_of_the_checkpoint(ranks):
    first, second = (rank["norm"] for rank in ranks)
    assert first["scored"] == second["scored"] == first["validated"]
    assert {"val/discriminator_loss", "val/generator_loss", "val/fid"} <= set(first["scored"])


def test_a_signal_to_one_rank_ends_all_saved(ranks):
    first, second = (rank["interrupted"] for rank in ranks)
    assert first == second
    assert first["stopped"][:3] == [143, "SIGTERM", 4]
    assert first["resumed"]


def test_a_job_of_slurm_that_is_queued_again_resumes_on_all_ranks(ranks):
    first, second = (rank["queued again"] for rank in ranks)
    assert first == second
    assert first["stopped"][:3] == [138, "SIGUSR1", 4]
    assert first["requests"] == "requeue 4711\n"
    assert first["resumed"]


def test_batch_norm_of_all_ranks_needs_gpus():
    data = digits()
    with pytest.raises(ValueError, match=r"trainer\.sync_batchnorm=true needs GPUs"):
        trainer(strategy="ddp", devices=1, sync_batchnorm=True).fit(game("DCGAN", data), data)


def test_batch_norm_of_all_ranks_has_the_same_weights():
    """What Lightning makes of the networks when a fit begins: samples and checkpoints stay what they were."""
    module = game("DCGAN", digits()).eval()
    samples, state = module.sample(8, seed=0), module.state_dict()
    weights = [*module.parameters()]
    joined = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in joined.generator.modules())
    assert torch.equal(joined.sample(8, seed=0), samples)
    assert joined.state_dict().keys() == state.keys()
    assert all(one is other for one, other in zip(joined.parameters(), weights, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])  # in a notebook they are forked
def test_processes_of_this_one_train_it(tmp_path, strategy):
    data = ring()
    module = GAN((2,))
    trainer([Checkpoint(2, dirpath=str(tmp_path))], max_steps=2, strategy=strategy, devices=2).fit(
        module, data
    )
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 2
    assert len(stored["run_state"]) == 2
    weights = stored["state_dict"]
    assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())
