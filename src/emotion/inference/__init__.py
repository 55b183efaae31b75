"""Load, run, benchmark, check and convert a SavedModel."""
