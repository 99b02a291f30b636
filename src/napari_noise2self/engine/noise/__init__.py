"""What the noise of an image is, and how to denoise it therefore."""
