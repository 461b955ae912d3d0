"""For all tests: they must test our packages, not others of the same names."""

from proxy import identity


def pytest_configure() -> None:
    identity.check()
