"""The web demo, and the Hugging Face Space that runs it."""
