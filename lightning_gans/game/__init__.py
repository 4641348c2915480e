"""The engine: what every game keeps, and the game from latents to images."""
