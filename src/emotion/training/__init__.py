"""How a network is trained: batches, augmentation, schedule, callbacks."""
