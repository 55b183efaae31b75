"""The networks. Layers are used only in this package."""
