"""Protects a training: checkpoints, steps that are not finite, memory, and only one training per folder."""
