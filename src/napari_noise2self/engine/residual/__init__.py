"""What a denoiser took away, and what it left."""
