"""A guided tour on real images: plan, train, predict and evaluate with stock nnU-Net, every command shown."""
