"""Where faces come from: each source writes one zip in the layout that `archive` checks."""
