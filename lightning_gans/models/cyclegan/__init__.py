"""CycleGAN."""
