"""A circuit breaker: calls themselves show that an upstream is down.

closed ──(failures in a row)──> open ──(open_s later)──> half open: one trial call
   ^                              ^                          │
   └──────── it succeeds ─────────┼──────────────────────────┤
                                  └──────── it fails ────────┘
"""

from __future__ import annotations

from collections.abc import Callable

from proxy import config


class Breaker:
    """Counts failures in a row; `clock` gives seconds that only grow."""

    def __init__(self, settings: config.Breaker, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._trial = False

    @property
    def is_open(self) -> bool:
        """Whether it is anything but closed."""
        return self._open_until is not None

    @property
    def lets_through(self) -> bool:
        """Whether a call may go to the upstream now."""
        if self._open_until is None:
            return True
        return not self._trial and self._clock() >= self._open_until

    @property
    def wait_s(self) -> float:
        """Seconds until a trial call may go, 0 if one may go or is under way."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def began(self) -> bool:
        """Note that a call goes to the upstream; true if it is the trial call."""
        self._trial = self._open_until is not None
        return self._trial

    def succeeded(self) -> None:
        """Note that the upstream answered."""
        self._failures = 0
        self._open_until = None
        self._trial = False

    def failed(self) -> None:
        """Note that the upstream failed a call."""
        self._failures += 1
        if self._trial or self._failures >= self._settings.failures:
            self._open_until = self._clock() + self._settings.open_s
        self._trial = False

    def given_up(self) -> None:
        """Note that the trial call ended without telling anything: another one may try."""
        self._trial = False
