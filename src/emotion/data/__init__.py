"""Face images: their labels, their sources, and the conversion of an archive into a dataset."""
