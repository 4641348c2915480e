"""The commands of ``lightning-gans``, a module each."""
