"""Hostile clients, engines and stores: the harness of tests/proxy under attack."""

from harness import *  # noqa: F403 (hooks and fixtures)
