"""Training: the input pipeline, augmentation, optimizers, schedule, checkpoints and callbacks."""
