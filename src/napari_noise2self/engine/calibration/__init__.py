"""Filters calibrated and ranked by the self-supervised loss."""
