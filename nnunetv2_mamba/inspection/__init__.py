"""Inspects a dataset before training: how many lesions it has, how large they are, what resampling leaves of them."""
