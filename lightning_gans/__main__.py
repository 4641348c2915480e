"""``python -m lightning_gans`` is ``lightning-gans``."""

from lightning_gans.commands.main import main

if __name__ == "__main__":
    main()
