"""Numbers in, numbers out: no Qt, no napari, no file formats."""
