"""Who is champion: the gate, its record, and the way back."""
