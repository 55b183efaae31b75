"""Evaluate predictions: metrics, robustness, significance, and figures."""
