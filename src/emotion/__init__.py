"""Train, compare and ship a facial-emotion classifier, and prove how it came about."""
