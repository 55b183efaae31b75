"""Converts an archive of images into one array and one table with three splits."""
