"""How long a training of the benchmark is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What every trainer gets.

    Attributes:
        epochs: steps of the learning rate schedules, and points of the learning curve.
        iterations: training steps of an epoch.
        val_iterations: validation batches of an epoch, for the learning curve only.
        patch: edge length of the patches in voxels; a plan's own where that is smaller.
        batch: patches of a step.
        tile_step: step of the sliding window of a prediction, as a share of the patch; nnU-Net's own is 0.5.
    """

    epochs: int
    iterations: int
    val_iterations: int
    patch: int
    batch: int
    tile_step: float = 0.5

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.epochs * self.iterations


BUDGETS = {
    "trial": Budget(epochs=1, iterations=2, val_iterations=1, patch=128, batch=2, tile_step=1.0),
    "short": Budget(epochs=20, iterations=40, val_iterations=4, patch=128, batch=4),
    "long": Budget(epochs=60, iterations=50, val_iterations=4, patch=128, batch=4),
}
"""``short`` is for exploring; a conclusion needs ``long``, 3,000 steps."""
