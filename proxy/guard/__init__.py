"""Limits: who may send how much, decided in one atomic step per request."""
