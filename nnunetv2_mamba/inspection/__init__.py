"""What a dataset asks of a network, before anything is trained: how many lesions, how large, what resampling leaves."""
