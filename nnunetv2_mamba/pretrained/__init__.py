"""Weights of VMamba classifiers for our networks; only `target` and `command` know nnU-Net."""
