"""Classical filters, and how they are applied to one channel."""
