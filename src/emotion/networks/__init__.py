"""The networks, and nowhere else a layer."""
