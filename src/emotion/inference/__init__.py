"""A SavedModel on disk: load it, ask it, measure it, check its operations, convert it."""
