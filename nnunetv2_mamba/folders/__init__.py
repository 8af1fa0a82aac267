"""Readers of nnU-Net's folders: what a dataset, its plans, and trained models hold."""
