"""Passes that remove channels, weights and ranks for good."""
