"""Embedding inside inference engines: only numpy, torch and the standard library."""
