"""What a training leaves beside nnU-Net's own results."""
