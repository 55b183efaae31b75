"""The gate: whether a version may become the champion."""
