"""The toy dataset of the curriculum, whose images show one lesion each or none."""

from tests.training.curriculum.conftest import make_trainer, preprocessed  # noqa: F401
