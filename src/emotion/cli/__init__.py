"""The `emotion` command: a file for each group of commands."""
