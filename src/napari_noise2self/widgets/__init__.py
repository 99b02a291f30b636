"""The napari widgets: small views, one session per viewer, one module that writes layers."""
