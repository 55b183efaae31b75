"""Choose the champion: the gate, the history of its decisions, and rollback."""
