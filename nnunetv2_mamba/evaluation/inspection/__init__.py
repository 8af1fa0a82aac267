"""What a dataset asks of a network, before anything is trained: how many lesions, how large, what resampling leaves."""


class InspectionError(RuntimeError):
    """A dataset cannot be inspected; the message says why and what to do."""
