"""Recognizes in which form a folder or an archive holds labelled faces."""
