"""The faces: their labels, where they come from, and how an archive becomes a dataset."""
