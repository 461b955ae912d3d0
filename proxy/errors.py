"""The gateway's errors.

AzeotropeError              (watermark.errors) one line for a person; the command line exits with 2
├── ConfigError             a key of the configuration file or the environment
├── AccountsError           the accounts, in their file or in Redis
├── IdentityError           another distribution owns one of our import names
├── StartError              a part of the gateway that cannot start: port in use, no store
└── CallError               one call that ends with an error, told to the client
    └── StreamCutError      the same after bytes have gone out: nothing can be told any more

A `CallError` says what happened in a neutral `Kind`. Which status, type and code that
becomes is the dialect's business, in one place (dialects/openai.py, dialects/anthropic.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from watermark.errors import AzeotropeError


class ConfigError(AzeotropeError):
    """A configuration key is wrong, missing or unknown; the message starts with its path."""


class AccountsError(AzeotropeError):
    """The accounts cannot be read or changed, are not private, or contradict themselves."""


class IdentityError(AzeotropeError):
    """The import names proxy, watermark and perturb are not all ours."""


class StartError(AzeotropeError):
    """A part of the gateway cannot start."""


class Kind(enum.Enum):
    """What went wrong with a call, in no dialect's words."""

    BAD_HTTP = enum.auto()
    HEAD_TOO_LARGE = enum.auto()
    BAD_BODY = enum.auto()
    BAD_FIELD = enum.auto()
    BODY_TIMEOUT = enum.auto()
    BODY_TOO_LARGE = enum.auto()
    WRONG_CONTENT_TYPE = enum.auto()
    EXPECTATION_FAILED = enum.auto()
    UNKNOWN_PATH = enum.auto()
    WRONG_METHOD = enum.auto()
    UNKNOWN_MODEL = enum.auto()
    NO_KEY = enum.auto()
    UNKNOWN_KEY = enum.auto()
    SUSPENDED = enum.auto()
    RATE_LIMITED = enum.auto()
    DRAINING = enum.auto()
    OVERLOADED = enum.auto()
    UPSTREAM_UNREACHABLE = enum.auto()
    UPSTREAM_BROKEN = enum.auto()
    UPSTREAM_TIMEOUT = enum.auto()
    INTERNAL = enum.auto()


class CallError(AzeotropeError):
    """A call that is answered with an error instead of a model's answer.

    `message` goes to the client: it names no key, prompt, answer or upstream address.
    `detail` goes to the log only.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.detail = detail


class StreamCutError(CallError):
    """The upstream failed after the answer had begun: the connection is cut, not finished."""
