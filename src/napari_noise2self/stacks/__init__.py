"""Images with axes, scale and names: files and sample data."""
