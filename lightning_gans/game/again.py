"""A game that begins again while it is trained: new initial weights, in place."""

from lightning_gans.game.latent_game import LatentGame


def begin_again(game: LatentGame, seed: int, generator: bool = False) -> None:
    """Give the players of a game the initial weights that a new game of this seed has.

    The state of all optimizers is deleted. What stays: learning rates and schedulers.

    Args:
        game: While it is trained.
        seed: Decides the weights. No other random numbers change.
        generator: Whether the generator begins again, too, with its averaged weights.

    Raises:
        ValueError: If a network cannot be built again.
    """
    new = game.another(seed)
    for player in game.players():
        game.player_optimizer(player).state.clear()
        if player == "generator" and not generator:
            continue
        for name, network in game.player_networks(player).items():
            weights = getattr(new, name).state_dict()
            network.load_state_dict(weights)
            if game.ema is not None and name in game.ema:
                game.ema[name].load_state_dict(weights)
