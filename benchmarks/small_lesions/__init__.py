"""Which trainer finds the small lesions: any trainers, datasets and seeds, with equal batches and budgets."""
