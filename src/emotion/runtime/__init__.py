"""The foundation of all packages: errors, files, paths, progress, processes, and loading TensorFlow."""
