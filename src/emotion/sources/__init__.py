"""Where faces come from. Each source writes one zip in the layout that `archive` checks."""
