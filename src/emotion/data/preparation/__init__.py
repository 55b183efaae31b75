"""An archive of images becomes one array and one table with three splits."""
