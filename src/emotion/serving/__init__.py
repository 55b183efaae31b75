"""The exported model at work."""
