"""The parameters of a run: one frozen model per section of params.yaml."""
