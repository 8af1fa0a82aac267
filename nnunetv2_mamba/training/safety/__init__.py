"""Nothing trained is lost: checkpoints, steps that are not finite, memory, and one training a folder."""
