"""How good predictions are: metrics, robustness, significance, and figures."""
