"""Passes, pipelines and the contracts they are held to."""
