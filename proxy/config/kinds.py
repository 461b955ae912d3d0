"""The kinds of values that a configuration may hold, and how each is named in an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError


def expects(what: str) -> WrapValidator:
    """Make every failure of a type say `what` it wants, in the user's words."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        # YAML's `yes` is a boolean, and a boolean is an integer to pydantic: never meant.
        if not isinstance(value, bool):
            try:
                return handler(value)
            except ValidationError:
                pass
        raise PydanticCustomError("expected", "expected {what}", {"what": what})

    return WrapValidator(check)


def _switch(what: str) -> WrapValidator:
    """The same for a boolean, which `expects` refuses."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("expected", "expected {what}", {"what": what}) from None

    return WrapValidator(check)


def _path(value: str) -> str:
    if not value.startswith("/") or "?" in value or "#" in value or "//" in value:
        raise ValueError
    if any(part in (".", "..") for part in value.split("/")):
        raise ValueError
    return value


def _upstream_url(value: str) -> str:
    # urlsplit drops line ends without a word, but the head of a request would keep them.
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    _ = parts.port  # raises ValueError if it is none
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValueError
    return value.rstrip("/")


def _redis_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError
    return value


PositiveInt = Annotated[int, Field(gt=0), expects("a positive integer")]
Switch = Annotated[bool, _switch("true or false")]
# A ticket carries the bias in thousandths of a nat, in 16 bits.
Nats = Annotated[float, Field(gt=0, le=65.535), expects("a positive number of nats")]
Seconds = Annotated[float, Field(gt=0), expects("a positive number of seconds")]
Port = Annotated[int, Field(ge=0, le=65535), expects("a port number from 0 to 65535")]
Host = Annotated[str, Field(min_length=1), expects("a host name or address")]
File = Annotated[Path, expects("the path of a file")]
AccountsPlace = Annotated[Literal["redis"] | Path, expects("the path of a file, or the word redis")]
Text = Annotated[str, Field(min_length=1), expects("a non-empty text")]
UrlPath = Annotated[
    str, AfterValidator(_path), expects("a path that begins with / and has no query, // or ..")
]
UpstreamUrl = Annotated[
    str,
    AfterValidator(_upstream_url),
    expects("an http:// or https:// URL without user, query or the trailing /v1"),
]
RedisUrl = Annotated[
    SecretStr,
    AfterValidator(_redis_url),
    expects("a redis://, rediss:// or unix:// URL"),
]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
