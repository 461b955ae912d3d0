"""Random requests: the harness of tests/proxy, in the hands of hypothesis."""

from harness import *  # noqa: F403 (hooks and fixtures)
