"""Sources of faces. Each source writes one zip file in the layout that `archive` checks."""
