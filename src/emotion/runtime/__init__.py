"""What every room stands on: errors, files, paths, progress, processes, and loading TensorFlow."""
