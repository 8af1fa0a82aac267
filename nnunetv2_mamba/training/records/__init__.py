"""What a training records in addition to nnU-Net's own results."""
