"""What keeps an evaluation or an inspection from going on."""


class EvaluationError(RuntimeError):
    """It cannot go on; the message says why and what to do."""


class GeometryError(ValueError):
    """Two segmentations cannot be compared voxel by voxel; the message says why and what to do."""
