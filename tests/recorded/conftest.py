"""The harness of tests/proxy, for real answers replayed by a scripted engine."""

from harness import *  # noqa: F403 (hooks and fixtures)
