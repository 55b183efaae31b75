"""Which labels of a dataset are doubtful: by a model that did not see them, and by identical images."""
