import json
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.callbacks import ActiveLearning, Checkpoint, GeneratorEMA, active_learning
from lightning_gans.callbacks.active_learning import highest
from lightning_gans.callbacks.scoring import check_names
from lightning_gans.data import Digits, GaussianMixtures
from lightning_gans.game.again import begin_again
from lightning_gans.game.csv_logger import WholeCSVLogger
from lightning_gans.game.latents import Normal
from lightning_gans.losses import gold
from lightning_gans.models import ACGAN, GAN, ConditionalGAN
from lightning_gans.networks import (
    ACGANDiscriminator,
    ACGANGenerator,
    ConditionalMLPDiscriminator,
    ConditionalMLPGenerator,
)
from tests.callbacks.helpers import fit, point_game
from tests.kill import At, differences, killed_and_resumed, remains, undisturbed

EVERY, ROUNDS, PER_ROUND = 3, 5, 2
UPDATES = EVERY * ROUNDS


def quick(patch):
    """Pictures that show what they are given, but not nicely: fonts take their time."""

    def queries(images, captions, title):
        shades = (images.flatten(1) * 100 + 128).byte()
        return Image.fromarray(shades.numpy())

    def curves(curves, title):
        values = [int(1000 * value) for curve in curves.values() for value in curve.values()]
        return Image.fromarray(torch.tensor([values]).byte().numpy())

    patch.setattr(active_learning, "draw_queries", queries)
    patch.setattr(active_learning, "draw_label_curves", curves)


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    quick(monkeypatch)
    torch.manual_seed(0)


def game(**kwargs):
    return ACGAN(
        (1, 8, 8),
        10,
        latent=Normal(4),
        generator=partial(ACGANGenerator, width=4, hidden=16, num_classes=10),
        discriminator=partial(ACGANDiscriminator, width=4, hidden=16, num_classes=10),
        **kwargs,
    )


def digits(**kwargs):
    return Digits(**{"batch_size": 16, "limit": 200, "num_labels": 10, **kwargs})


def asking(**kwargs):
    given = {"every_n_updates": EVERY, "per_round": PER_ROUND, "rounds": ROUNDS}
    return ActiveLearning(**{**given, **kwargs})


def run(folder, callback, module=None, data=None, extra=(), updates=UPDATES, **kwargs):
    return fit(folder, module or game(), data or digits(), [*extra, callback], updates, **kwargs)


class Scores(Callback):
    """Stands for FittingCapacity: a line at the end of each round."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step % EVERY == 0:
            labels = trainer.datamodule.num_labelled
            line = {"update": trainer.global_step, "name": None, "fitting_capacity": labels / 100}
            place = Path(trainer.log_dir or trainer.default_root_dir)
            with (place / "evaluations.jsonl").open("a") as file:
                file.write(json.dumps({**line, "labels": labels}) + "\n")


class States(Callback):
    """What the players are like at the start and the end of each round."""

    def __init__(self):
        self.starts, self.ends = [], []

    def now(self, trainer, module):
        weights = {
            name: {k: v.clone() for k, v in getattr(module, name).state_dict().items()}
            for name in ("discriminator", "generator")
        }
        weights["remembered"] = sum(len(optimizer.state) for optimizer in trainer.optimizers)
        return weights

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step % EVERY == 0:
            self.starts.append(self.now(trainer, module))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step % EVERY == 0:
            self.ends.append(self.now(trainer, module))


def equal(a, b):
    return not differences(a, b)


def lines(folder):
    return [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------- what is asked for


def test_the_order_of_the_pool_does_not_matter():
    """GOLD's released code takes the last of the pool, whatever their scores."""
    scores = torch.randn(500, generator=torch.Generator().manual_seed(0))
    pool = torch.arange(500) * 3
    wanted = set(pool[highest(scores, 7)].tolist())
    assert wanted == {int(pool[i]) for i in range(500) if scores[i] >= scores.sort().values[-7]}
    for seed in range(5):
        order = torch.randperm(500, generator=torch.Generator().manual_seed(seed))
        assert set(pool[order][highest(scores[order], 7)].tolist()) == wanted


LOGITS = torch.tensor([2.0, -1.0, 0.0])
CLASSES = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 0]])


class Told(torch.nn.Module):
    """Says of the images what the sheet of known answers says, by their first pixel: 0, 1 and 2 of 255."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images):
        number = ((images[:, 0, 0, 0] + 1) * 127.5).round().long() % 3
        return LOGITS[number] + self.weight, CLASSES[number]


@pytest.mark.parametrize("acquisition", ["gold", "entropy"])
def test_scores_are_those_of_the_sheet(acquisition):
    module = ACGAN((1, 8, 8), 3, latent=Normal(4), generator={"width": 4, "hidden": 16}, discriminator=Told())
    images = torch.full((3, 1, 8, 8), -1.0)
    images[:, 0, 0, 0] = torch.arange(3) / 127.5 - 1

    class Data:
        def reader(self):
            return 3, lambda indices: images[indices]

    entropies = torch.tensor([0.6656, 0.9753, 1.0986])
    assert torch.allclose(gold.gold_unlabeled(LOGITS, CLASSES), LOGITS + entropies, atol=1e-4)
    assert highest(gold.gold_unlabeled(LOGITS, CLASSES), 3).tolist() == [0, 2, 1]
    callback = asking(acquisition=acquisition)
    scores, ratio = callback._scored(module, Data(), torch.tensor([2, 0, 1]))
    rho = LOGITS.std(correction=0) / entropies.std(correction=0)
    wanted = entropies if acquisition == "entropy" else LOGITS + rho * entropies
    assert torch.allclose(scores.float(), wanted[[2, 0, 1]], atol=2e-3)
    assert ratio is None if acquisition == "entropy" else ratio == pytest.approx(float(rho), abs=1e-3)


@pytest.mark.parametrize("acquisition", ["gold", "entropy", "random"])
def test_asks_for_labels_of_the_pool_with_the_highest_scores(acquisition, tmp_path):
    data, callback, states = digits(val_fraction=0.1), asking(acquisition=acquisition), States()
    module = game()
    run(tmp_path, callback, module, data, [states])  # before the callback: with the round's own weights
    queries = lines(tmp_path)
    assert queries == callback.queries
    assert [query["round"] for query in queries] == [1, 2, 3, 4]
    assert [query["update"] for query in queries] == [3, 6, 9, 12]
    assert [query["labels"] for query in queries] == [12, 14, 16, 18]
    assert [query["pool"] for query in queries] == [190, 188, 186, 184]
    asked = [index for query in queries for index in query["indices"]]
    start = digits(val_fraction=0.1)
    start.setup("fit")
    assert len(set(asked)) == 8 == torch.isin(torch.tensor(asked), start.pool()).sum()
    truth = digits(val_fraction=0.1, num_labels=None)
    truth.setup("fit")
    assert [label for q in queries for label in q["classes"]] == truth.stored("train")[1][asked].tolist()
    assert [name for q in queries for name in q["names"]] == list(map(start.sample_name, asked))
    assert data.num_labelled == 18
    assert all(query["scores"] == sorted(query["scores"], reverse=True) for query in queries)
    # The first query, by hand.
    module.discriminator.load_state_dict(states.starts[1]["discriminator"])
    pool = start.pool()
    scores, _ = callback._scored(module, start, pool)
    if acquisition != "random":
        best = scores.argsort(descending=True)[:2]
        assert queries[0]["indices"] == pool[best].tolist()
        assert queries[0]["scores"] == pytest.approx(scores[best].tolist())


def test_random_queries_follow_from_the_seeds(tmp_path):
    def asked(seed=0, own=0):
        callback = asking(acquisition="random", rounds=2, every_n_updates=1, seed=own)
        fit(tmp_path, game(), digits(), [callback], 2, seed=seed)
        return callback.queries[0]["indices"]

    first = asked()
    assert asked() == first
    assert len({tuple(indices) for indices in (first, asked(seed=1), asked(own=1))}) == 3


# ---------------------------------------------------------------------- how it begins again


@pytest.mark.parametrize("reset", ["discriminator", "both"])
def test_who_begins_again(reset, tmp_path):
    states = States()
    fit(tmp_path, game(), digits(), [GeneratorEMA(0.5), asking(reset=reset), states], UPDATES)
    assert len(states.ends) == ROUNDS
    for start, end in zip(states.starts[1:], states.ends, strict=False):
        assert not equal(start["discriminator"], end["discriminator"])
        assert equal(start["generator"], end["generator"]) == (reset == "discriminator")
        assert start["remembered"] == 0
        assert end["remembered"] > 0
    firsts = [start["discriminator"]["source.weight"] for start in states.starts]
    assert all(not torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])


def test_new_weights_are_those_of_a_game_of_that_seed():
    module = game()
    module._running = {"discriminator": _Player(), "generator": _Player()}
    module.start_ema()
    before, state = module.generator.state_dict()["layers.0.0.weight"].clone(), torch.get_rng_state()
    begin_again(module, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(module.generator.state_dict()["layers.0.0.weight"], before)
    torch.manual_seed(7)
    other = game()
    assert equal(dict(module.discriminator.state_dict()), dict(other.discriminator.state_dict()))
    begin_again(module, 7, generator=True)
    for network in (module.generator, module.ema["generator"]):
        assert equal(dict(network.state_dict()), dict(other.generator.state_dict()))
    assert all(not player.optimizer.state for player in module._running.values())


class _Player:
    def __init__(self):
        weight = torch.nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.Adam([weight])
        weight.sum().backward()
        self.optimizer.step()


# ---------------------------------------------------------------------- killed and resumed


def make_run(folder, extra, ckpt_path):
    torch.manual_seed(5)
    trainer = Trainer(
        max_steps=UPDATES,
        callbacks=[extra[0], Scores(), asking(), Checkpoint(2), GeneratorEMA(0.9), *extra[1:]],
        logger=WholeCSVLogger(folder, name=""),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    trainer.fit(game(labeled_batch_size=8), datamodule=digits(), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        undisturbed(make_run, folder)
    return remains(folder)


@pytest.mark.parametrize(
    "moments",
    [
        [At("on_train_batch_end", 7)],  # in the third round
        [At("on_train_batch_end", 6, after=True)],  # its round is saved, its labels are not asked for
        [At("on_train_batch_start", 6, after=True)],  # they are asked for, and that is not saved
        [At("on_train_batch_end", 2), At("on_train_batch_end", 9), At("on_train_end", 15)],
    ],
    ids=str,
)
def test_killed_and_resumed_asks_for_the_same_and_ends_the_same(moments, whole, tmp_path):
    killed_and_resumed(make_run, tmp_path, *moments)
    found = remains(tmp_path)
    curve = found["pictures"].pop("queries/fitting_capacity.png")
    expected = {**whole, "pictures": dict(whole["pictures"])}
    assert curve >= expected["pictures"].pop(
        "queries/fitting_capacity.png"
    )  # earlier parts have shorter ones
    assert not differences(expected, found)
    last = max(tmp_path.glob("version_*"), key=lambda path: int(path.name.removeprefix("version_")))
    assert len(lines(last)) == ROUNDS - 1  # all queries are in the folder of the last part
    assert len(list((last / "queries").glob("round=*.png"))) == ROUNDS - 1


def test_a_longer_run_goes_on_asking(tmp_path):
    short, long = asking(rounds=2), asking(rounds=3)
    trainer = fit(tmp_path, game(), digits(), [short], 2 * EVERY)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    assert len(short.queries) == 1
    fit(tmp_path, game(), digits(), [long], 3 * EVERY, ckpt_path=tmp_path / "two.ckpt")
    assert [query["update"] for query in long.queries] == [3, 6]


# ---------------------------------------------------------------------- what is written


def test_pictures_and_curve(tmp_path):
    callback = asking(rounds=2, every_n_updates=3)
    (tmp_path / "evaluations.jsonl").write_text('{"update": 3, "name": "p\n')  # of a process that was killed
    run(tmp_path, callback, extra=[Scores()], updates=6)
    names = {path.name for path in (tmp_path / "queries").iterdir()}
    assert names == {"round=01.png", "fitting_capacity.png"}
    assert callback._curves == {"": {10: 0.1, 12: 0.12}}


def test_points_have_no_picture(tmp_path):
    data = GaussianMixtures("ring", samples=200, batch_size=20, num_labels=8)
    run(tmp_path, asking(rounds=2), ACGAN((2,), 8), data, updates=2 * EVERY)
    assert len(lines(tmp_path)) == 1
    assert not list((tmp_path / "queries").glob("*.png"))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"per_round": 0}, "per_round=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"every_n_updates": 0}, "every_n_updates=0"),
        ({"seed": -1}, "seed=-1"),
        ({"acquisition": "margin"}, "acquisition='?margin"),
        ({"reset": "generator"}, "reset='?generator"),
    ],
)
def test_arguments_out_of_range(given, message):
    with pytest.raises(ValueError, match=message):
        asking(**given)


def without_head():
    return ConditionalGAN(
        (1, 8, 8), 10, latent=Normal(4),
        generator=partial(ConditionalMLPGenerator, hidden=(8,), num_classes=10),
        discriminator=partial(ConditionalMLPDiscriminator, hidden=(8,), num_classes=10),
    )  # fmt: skip


class NoRatio(ACGAN):
    log_ratio = False


@pytest.mark.parametrize(
    ("given", "data", "module", "message"),
    [
        ({}, {"num_labels": None}, game, "no labels to ask for: set data.num_labels"),
        ({"per_round": 48}, {}, game, "per_round=48: 4 queries exceed the pool, which has 190 .* at most 47"),
        ({"rounds": 4}, {}, game, r"max_steps=15 does not fit rounds=4 of every_n_updates=3: set it to 12"),
        ({}, {}, without_head, "acquisition=gold: .* ConditionalGAN has no head for classes"),
        ({"acquisition": "entropy"}, {}, without_head, "acquisition=entropy: .* ConditionalGAN has no head"),
        ({}, {}, lambda: NoRatio((1, 8, 8), 10), "acquisition=gold: the logits of NoRatio are no log ratios"),
    ],
)
def test_what_does_not_fit_ends_before_training(given, data, module, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, asking(**given), module(), digits(**data))


def test_games_that_cannot_begin_again(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1))
    with pytest.raises(ValueError, match="did not record how it was made"):
        run(tmp_path, asking(acquisition="random"), GAN((1, 8, 8), discriminator=network))


def test_data_that_cannot_be_asked(tmp_path):
    loader = DataLoader(TensorDataset(torch.zeros(32, 1, 8, 8), torch.arange(32) % 10), 16)
    with pytest.raises(ValueError, match="data=NoneType has no way to answer"):
        run(tmp_path, asking(), data=loader)


def test_replicas_are_refused(tmp_path):
    with pytest.raises(ValueError, match="replicas=2: GAN has one at a time, since each would ask"):
        run(tmp_path, asking(acquisition="random"), point_game(replicas=2), GaussianMixtures(num_labels=8))


def test_a_trial_run_asks_for_nothing(tmp_path):
    callback = asking()
    run(tmp_path, callback, fast_dev_run=EVERY + 1)
    assert callback.queries == []
    assert not (tmp_path / "queries.jsonl").exists()


def test_two_ranks_ask_for_the_same_labels_and_share_them(on_ranks):
    first, second = (rank["asked"] for rank in on_ranks("tests.callbacks.two_ranks"))
    for what in ("queries", "labels", "weights"):
        assert first[what] == second[what]
    assert len(first["queries"]) == 1
    served = [sum(both) for both in zip(first["served"], second["served"], strict=True)]
    assert served[:2] == [10, 10]
    assert served[3] == 53


def test_a_run_goes_on_in_rounds_of_the_same_length():
    state = asking().state_dict() | {"next": EVERY}
    asking().load_state_dict(state)
    with pytest.raises(ValueError, match=f"every_n_updates={EVERY + 1} differs.*every_n_updates={EVERY}$"):
        asking(every_n_updates=EVERY + 1).load_state_dict(state)


def test_two_that_ask_are_refused():
    with pytest.raises(ValueError, match="two ActiveLearning: give one"):
        check_names([asking(), asking(acquisition="random")])


def test_epochs_that_end_before_the_last_round_are_refused(tmp_path):
    trainer = Trainer(
        max_steps=UPDATES,
        max_epochs=1,
        limit_train_batches=2,
        callbacks=[asking()],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        accelerator="cpu",
        limit_val_batches=0,
    )
    with pytest.raises(ValueError, match="max_epochs=1 ends the run before max_steps=15"):
        trainer.fit(game(), datamodule=digits())
