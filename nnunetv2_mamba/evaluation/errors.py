"""What keeps an evaluation or an inspection from going on."""


class EvaluationError(RuntimeError):
    """It cannot go on; the message says why and what to do."""
