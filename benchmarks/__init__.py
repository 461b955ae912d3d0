"""Measurements; each folder answers one question and prints its figures."""
