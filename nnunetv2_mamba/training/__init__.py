"""What our nnU-Net trainers are made of: one file for each deviation from the stock trainer, and their base."""
