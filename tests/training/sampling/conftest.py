"""The toy dataset of the curriculum, whose images show one lesion each or none."""

from tests.training.curriculum import conftest

make_trainer, preprocessed = conftest.make_trainer, conftest.preprocessed
