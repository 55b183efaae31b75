"""Figures as PNG and HTML files: of the data, the training, the search and the metrics."""
