"""Weights of VMamba classifiers for our networks; only `target` imports nnU-Net."""
