"""Errors of the watermark package.

AzeotropeError            anything that a user can mend; the message says what, where, what to do
├── KeyringError          a key file is missing, readable by others, damaged or of another version
├── ManifestError         the manifest is missing, forged, damaged or disagrees with the keys
├── TicketError           a ticket is malformed, forged, expired or of an unknown epoch
└── InputError            a text, file or option given to the detector cannot be used
"""

from typing import Literal

TicketReason = Literal["malformed", "forged", "expired", "unknown_epoch"]


class AzeotropeError(Exception):
    """Base of every error whose message is meant for the user as it stands."""


class KeyringError(AzeotropeError):
    """A key file cannot be used."""


class ManifestError(AzeotropeError):
    """A manifest cannot be trusted or does not fit the keys."""


class InputError(AzeotropeError):
    """Input of the detector cannot be used."""


class TicketError(AzeotropeError):
    """A ticket was refused; `reason` is one word for counters."""

    def __init__(self, reason: TicketReason) -> None:
        super().__init__(f"ticket refused: {reason}")
        self.reason: TicketReason = reason
