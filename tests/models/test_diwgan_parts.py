"""DIWGAN's pairing, weights and real set, against values computed by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from lightning_gans.models.diwgan import weights
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.pairing import costs, start
from lightning_gans.models.diwgan.real_set import choose, energy_distance
from lightning_gans.models.diwgan.term import PairingTerm

CLIP = (0.1, 10.0)
REAL = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
FAKE = torch.tensor([[0.0, 1.9], [0.1, 0.0], [5.0, 0.0]])
LOGS = torch.tensor([-1.0, -2.0, -3.0])


def twice(values):
    """Two games at once: the same, and with its samples in the opposite order."""
    return torch.stack([values, values.flip(0)])


def close(found, expected, tolerance=1e-6):
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=tolerance, rtol=0)


def memory(real, **arguments):
    """The memory of a run whose codes are in their own units."""
    games, size, dim = real.shape
    parts = {"mean": torch.zeros(games, 1, dim), "std": torch.ones(games, 1, dim), "images": real}
    return Memory(**{**parts, "codes": real, "history": torch.zeros(games, size), **arguments})


def test_pairing_and_weights_of_three_samples():
    real, fake = twice(REAL), twice(FAKE)
    away = costs(real, fake)
    order = start(away)()
    assert order.tolist() == [[1, 2, 0], [2, 0, 1]]
    deltas = weights.distance(real, fake.gather(1, order[:, :, None].expand(-1, -1, 2)))
    close(deltas, twice(torch.tensor([0.1, 4.0, 0.1])))
    assert deltas.mean().item() == pytest.approx(1.4)
    unclipped = weights.balanced(deltas, (0, math.inf))
    close(unclipped, twice(torch.tensor([0.071429, 2.857143, 0.071429])))
    close(weights.balanced(deltas, CLIP), twice(torch.tensor([0.098131, 2.803738, 0.098131])))
    of_fake = weights.generator_weights(twice(LOGS), "density", dim=2)
    close(of_fake, twice(torch.tensor([1.995723, 0.734185, 0.270092])))
    assert weights.weighted(deltas, unclipped, of_fake.gather(1, order)).item() == pytest.approx(
        1.035421, abs=1e-6
    )
    assert weights.weighted(deltas, unclipped, of_fake, gamma=0).item() == pytest.approx(1.4)


def test_greedy_is_not_optimal():
    away = torch.tensor([[[1, 2], [1.1, 4]]])
    assert start(away)().tolist() == [[1, 0]]
    assert start(away, "greedy")().tolist() == [[0, 1]]
    # 1 is taken first, of its row and column nothing is left, then 4, then 9 in spite of 2 and 3
    assert start(torch.tensor([[[2, 1, 3], [9.0, 8, 7], [4, 5, 6]]]), "greedy")().tolist() == [[1, 2, 0]]


def test_pairing_is_optimal():
    away = costs(torch.randn(3, 5, 2), torch.randn(3, 5, 2))
    for matrix, columns in zip(away, start(away)(), strict=True):
        totals = [matrix[range(5), list(p)].sum() for p in itertools.permutations(range(5))]
        assert matrix[range(5), columns].sum() == min(totals)


@pytest.mark.parametrize("how", ["hungarian", "greedy"])
def test_no_pairing_of_what_is_not_finite(how):
    with pytest.raises(ValueError, match=r"finite|invalid numeric"):
        start(torch.tensor([[[1, math.nan], [1, 2]]]), how)()


def test_generator_weights():
    logs = twice(LOGS)
    close(
        weights.generator_weights(logs + 1000, "density", 2),
        weights.generator_weights(logs, "density", 2),
        1e-5,
    )
    close(weights.generator_weights(torch.full((1, 4), -7.0), "density", 2, CLIP), torch.ones(1, 4))
    close(
        weights.generator_weights(logs, "inverse", 2), weights.generator_weights(logs, "density", 2).flip(1)
    )
    close(weights.generator_weights(logs, "rank", 2), twice(torch.tensor([1.5, 1.0, 0.5])))
    close(weights.generator_weights(torch.tensor([[3.0, 1.0, 2.0, 4.0]]), "rank", 2), [[1.2, 0.4, 0.8, 1.6]])
    close(weights.generator_weights(logs, "none", 2), torch.ones(2, 3))
    assert [weights.temperature(dim) for dim in (1, 2, 3, 4, 64)] == [1, 1, 1, 2, 32]
    close(weights.generator_weights(logs * 32, "density", 64), weights.generator_weights(logs, "density", 2))
    assert weights.effective_share(torch.tensor([[4.0, 0, 0, 0], [1, 1, 1, 1]])) == (0.25 + 1) / 2


def test_each_game_has_its_own_mean():
    values = torch.tensor([[0.1, 4.0, 0.1], [1.0, 1.0, 1.0]])
    close(weights.balanced(values, CLIP), [[0.098131, 2.803738, 0.098131], [1, 1, 1]])


def test_density_by_hand_and_by_scipy():
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    close(weights.log_density(torch.zeros(1, 1, 2), points, 0.5).exp(), [[0.361388]])
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(2, 5120, 2, generator=rng) * torch.tensor([0.01, 3.0]) + 40
    at = points[:, :7] + 0.003
    width = weights.scott_bandwidth(points)
    close(width, 0.240873 * points.std(1, keepdim=True, correction=0), 1e-6)
    for game in range(2):
        scaled = points[game] / width[game]  # scipy's kernel has one covariance: that of these is 1 / 0.24^2
        kernel = gaussian_kde(scaled.double().numpy().T)
        kernel.set_bandwidth(1.0)
        kernel.cho_cov = np.eye(2)
        kernel.covariance = np.eye(2)
        kernel.log_det = 2 * math.log(2 * math.pi)
        expected = torch.from_numpy(kernel.logpdf((at[game] / width[game]).double().numpy().T))
        found = weights.log_density(at, points, width)[game] + width[game].log().sum()
        torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)


def test_density_of_a_collapsed_generator_is_finite():
    points = torch.ones(1, 20, 2)
    found = weights.log_density(
        torch.tensor([[[1.0, 1.0], [2.0, 1.0]]]), points, weights.scott_bandwidth(points)
    )
    assert found.isfinite().all()
    close(weights.generator_weights(found, "density", 2), [[2.0, 0.0]])


def test_distance_and_its_gradient():
    real = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
    fake = torch.tensor([[[3.0, 4.0], [1.0, 2.0]]], requires_grad=True)
    distances = weights.distance(real, fake)
    close(distances, [[5.0, 0.0]])
    distances.sum().backward()
    close(fake.grad, [[[0.6, 0.8], [0.0, 0.0]]])


def test_history_is_used_by_the_update_after():
    state = memory(twice(REAL))
    away = torch.tensor([[0.1, 4.0, 0.1], [0.1, 4.0, 0.1]])
    block = state.block(3)
    close(state.real_weights(block, "history", None, CLIP), torch.ones(2, 3))
    close(state.fake_weights(twice(FAKE), "density", None, CLIP), torch.ones(2, 3))
    state.remember(block, away, twice(FAKE), past_sets=10, kind="history")
    close(state.history, away)
    close(state.real_weights(block, "history", None, CLIP)[0], [0.098131, 2.803738, 0.098131])
    close(state.real_weights(block, "none", None, CLIP), torch.ones(2, 3))
    state.remember(state.block(3), torch.ones(2, 3), twice(FAKE), past_sets=10, kind="history")
    close(state.history[0], [0.19, 3.7, 0.19])


def test_cumulative_history_is_the_mean_of_all():
    state, rng = memory(torch.zeros(1, 4, 2)), torch.Generator().manual_seed(0)
    seen = torch.rand(5, 1, 4, generator=rng)
    for distances in seen:
        state.remember(state.block(4), distances, torch.zeros(1, 4, 2), past_sets=2, kind="cumulative")
    close(state.history, seen.mean(0))
    assert len(state.past) == 2


def test_blocks_take_turns():
    state = memory(torch.arange(12.0).view(1, 6, 2))
    starts = []
    for distance in (1.0, 2, 3, 2, 2, 2):
        block = state.block(2)
        starts.append(block.start)
        if distance == 3:  # not seen before
            close(state.real_weights(block, "history", None, CLIP), torch.ones(1, 2))
        state.remember(block, torch.full((1, 2), distance), torch.zeros(1, 2, 2), past_sets=2, kind="history")
    assert starts == [0, 2, 4, 0, 2, 4]
    close(state.history, [[1.5, 1.5, 2, 2, 2.5, 2.5]])
    close(
        state.real_weights(slice(4, 6), "history", None, CLIP), [[1.25, 1.25]]
    )  # of a mean of 2 over all blocks


def test_coverage_is_large_where_nothing_was_generated():
    state = memory(torch.tensor([[[0.0, 0.0], [5.0, 0.0]]]), past=[torch.randn(1, 50, 2)])
    near, far = state.real_weights(slice(0, 2), "coverage", None, (0, 10))[0]
    assert near < 0.01 < 1.9 < far
    given = state.log_density(state.codes, bandwidth=2.0)
    assert torch.equal(given, weights.log_density(state.codes, state.past[0], 2.0))


def term(state, target_weight="history", **arguments):
    """A term in the middle of a run."""
    given = {"gamma": 1.0, "past_sets": 10, "num_real": None, "pairing": "hungarian", "real_set": "random",
             "generator_weight": "density", "weight_clip": CLIP, "bandwidth": None}  # fmt: skip
    found = PairingTerm(**given, target_weight=target_weight, **arguments)
    found.memory = state
    return found


def test_pairs_belong_together():
    state = memory(REAL[None], past=[FAKE[None] + 0.3], history=torch.tensor([[1.0, 2, 3]]), updates=1)
    pairs = term(state).pairs(FAKE, FAKE[None])
    assert torch.equal(pairs.real, REAL)
    assert torch.equal(pairs.fake, FAKE[[1, 2, 0]])
    close(pairs.distances, [0.1, 4, 0.1])
    close(pairs.real_weights, [0.5, 1, 1.5])
    of_fake = state.fake_weights(FAKE[None], "density", None, CLIP)[0]
    assert len(set(of_fake.tolist())) == 3
    assert torch.equal(pairs.fake_weights, of_fake[[1, 2, 0]])


def test_nearest_of_all_generated_samples():
    state = memory(REAL[None])
    found = term(state, target_weight="min")
    found.loss(found.search(FAKE, FAKE[None], FAKE[None], slice(None)), reporting=False)
    close(state.history, [[0.1, 0.9, 0.1]])


def test_memory_of_one_game():
    state = memory(twice(REAL), past=[twice(FAKE)], updates=7)
    one = state.replica(1)
    assert torch.equal(one.codes, REAL.flip(0)[None])
    assert torch.equal(one.past[0], FAKE.flip(0)[None])
    assert one.updates == 7
    elsewhere = state.on(torch.device("meta"))
    tensors = [*elsewhere.past, *(value for value in vars(elsewhere).values() if torch.is_tensor(value))]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert elsewhere.updates == 7
    assert state.on(torch.device("cpu")) is state
    again = Memory.of(state.state())
    assert again.updates == 7
    assert torch.equal(again.history, state.history)


def test_energy_distance():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    assert energy_distance(a, b).item() == pytest.approx(2 * 1.5 - 0.5 - 1.5)  # |a - b|: 0, 3, 1, 2
    assert energy_distance(a, a).item() == 0


@pytest.mark.parametrize("how", ["best_of", "random", "kmeans"])
def test_real_sets(how):
    rng = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 2, generator=rng).repeat(2, 1)  # every code twice
    chosen = choose(codes, 64, how, torch.Generator().manual_seed(1))
    assert len(set(chosen.tolist())) == 64
    assert torch.equal(chosen, choose(codes, 64, how, torch.Generator().manual_seed(1)))
    drawn = codes[choose(codes, 64, "random", torch.Generator().manual_seed(1))]
    if how == "best_of":
        assert energy_distance(codes[chosen], codes) < energy_distance(drawn, codes)
    if how == "kmeans":  # which covers the tails, too
        away = [torch.cdist(codes, part).amin(1).mean() for part in (codes[chosen], drawn)]
        assert away[0] < away[1]
    assert len(choose(codes, 1000, how, rng).unique()) == 1000
