"""Serve the exported model: predictions for images and videos, and the web demo."""
