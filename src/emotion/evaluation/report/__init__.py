"""The tables and figures that `evaluate` writes."""
