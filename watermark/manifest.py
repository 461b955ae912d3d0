"""The signed manifest: the public parameters that gateway, engine and detector must agree on.

Parameters belong to an epoch, so that a change of the defaults never makes old
texts undetectable. The file is JSON with integers and strings only; what is
signed is its canonical form (sorted keys, no blanks, UTF-8), by Ed25519.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from watermark import ed25519
from watermark.errors import ManifestError

FORMAT = "az1"
VERSION = 1
SHARE_UNIT = 65536
MAX_WIDTH = 4

Channel = Literal["site", "account", "call"]
CHANNELS: tuple[Channel, ...] = ("site", "account", "call")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What embedder and detector need to know of one epoch, besides its keys.

    gamma is 2^-gamma_bits. Widths are numbers of context tokens (1 to 4); shares are
    parts of 65,536 positions. `delta_millinats` is the default bias; `repeat_cap` is how
    often one response may be biased after the same selector context (0: no cap).
    Defaults are chosen by measurement: docs/results.md, "Choice of the default mark".
    """

    gamma_bits: int = 2
    selector_width: int = 2
    site_width: int = 2
    account_width: int = 4
    call_width: int = 4
    site_share: int = 43909
    account_share: int = 15073
    call_share: int = 6554
    delta_millinats: int = 2000
    repeat_cap: int = 4

    def __post_init__(self) -> None:
        """Raise ManifestError if a value is outside the format."""
        widths = (self.selector_width, self.site_width, self.account_width, self.call_width)
        shares = (self.site_share, self.account_share, self.call_share)
        if any(type(getattr(self, f.name)) is not int for f in fields(self)):
            raise ManifestError("manifest: every parameter of an epoch must be an integer")
        if self.gamma_bits not in (1, 2):
            raise ManifestError(f"manifest: gamma_bits must be 1 or 2, not {self.gamma_bits}")
        if any(not 1 <= width <= MAX_WIDTH for width in widths):
            raise ManifestError(f"manifest: context widths must be 1 to {MAX_WIDTH}, not {widths}")
        if min(shares) < 0 or not 0 < sum(shares) <= SHARE_UNIT:
            raise ManifestError(f"manifest: shares must add up to at most {SHARE_UNIT}: {shares}")
        if not 0 <= self.delta_millinats <= 65535 or self.repeat_cap < 0:
            raise ManifestError("manifest: delta_millinats must be 0 to 65535, repeat_cap >= 0")

    @property
    def gamma(self) -> float:
        """Share of green tokens."""
        return 2.0**-self.gamma_bits

    def width(self, channel: Channel) -> int:
        """Context width of a channel, in tokens."""
        return {"site": self.site_width, "account": self.account_width, "call": self.call_width}[
            channel
        ]

    def bounds(self) -> tuple[int, int, int]:
        """Upper bounds of the three channels in the selector's low 16 bits."""
        first = self.site_share
        second = first + self.account_share
        return first, second, second + self.call_share


@dataclass(frozen=True, slots=True)
class ManifestEpoch:
    """One epoch: number (from 1), creation time (RFC 3339), key check (hex) and parameters."""

    epoch: int
    created: str
    check: str
    parameters: Parameters = field(default_factory=Parameters)


@dataclass(frozen=True, slots=True)
class TokenizerPin:
    """The tokenizer that marks are made with: size and SHA-256 of its vocabulary."""

    vocabulary_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The verified content of a manifest file."""

    issued: str
    epochs: tuple[ManifestEpoch, ...]
    tokenizer: TokenizerPin | None = None

    @classmethod
    def load(cls, path: Path, public_key: bytes) -> "Manifest":
        """Read and verify a manifest file.

        Raises ManifestError if it is missing, damaged, signed by another key, or of
        another format version.
        """
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise ManifestError(
                f"{path}: no such manifest; make one with: azeotrope keys new"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise ManifestError(f"{path}: not a readable manifest ({error})") from error
        return _parse(path, document, public_key)

    @property
    def current(self) -> ManifestEpoch:
        """The newest epoch: new answers are marked under it."""
        return self.epochs[-1]

    @property
    def current_epoch(self) -> int:
        """Number of the newest epoch."""
        return self.current.epoch

    @property
    def gamma(self) -> float:
        """Share of green tokens in the newest epoch."""
        return self.current.parameters.gamma

    @property
    def delta_millinats(self) -> int:
        """Default bias of the newest epoch, in thousandths of a nat."""
        return self.current.parameters.delta_millinats

    @property
    def digest(self) -> str:
        """SHA-256 of the signed bytes, in hex: names this very manifest."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def parameters(self, epoch: int) -> Parameters:
        """Return the parameters of an epoch; raises ManifestError if it has no such epoch."""
        for entry in self.epochs:
            if entry.epoch == epoch:
                return entry.parameters
        raise ManifestError(f"manifest: epoch {epoch} is not listed")

    def canonical(self) -> bytes:
        """Return the bytes that are signed."""
        payload = {"format": FORMAT, "version": VERSION} | asdict(self)
        return canonical_json(payload)

    def signed(self, sign: Callable[[bytes], bytes]) -> str:
        """Return the manifest file's text; `sign` makes an Ed25519 signature of bytes."""
        payload = json.loads(self.canonical())
        document = {"manifest": payload, "signature": sign(self.canonical()).hex()}
        return json.dumps(document, indent=2) + "\n"


def canonical_json(document: Any) -> bytes:
    """Return the one form of a JSON value that is signed or digested (docs/format.md)."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _parse(path: Path, document: Any, public_key: bytes) -> Manifest:
    try:
        payload, signature = dict(document["manifest"]), bytes.fromhex(document["signature"])
        canonical = canonical_json(payload)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path}: not a manifest of Azeotrope") from error
    if not ed25519.verify(public_key, canonical, signature):
        raise ManifestError(
            f"{path}: the signature is not by this keyring: use the manifest that belongs to it"
        )
    if (payload.pop("format", None), payload.pop("version", None)) != (FORMAT, VERSION):
        raise ManifestError(f"{path}: another format version; this release reads az1 version 1")
    try:
        return _build(payload)
    except (KeyError, TypeError) as error:
        raise ManifestError(f"{path}: a field is missing or unknown ({error})") from error
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error


def _build(payload: dict[str, Any]) -> Manifest:
    epochs = tuple(
        ManifestEpoch(**entry | {"parameters": Parameters(**entry["parameters"])})
        for entry in payload.pop("epochs")
    )
    pin = payload.pop("tokenizer")
    tokenizer = TokenizerPin(**pin) if pin is not None else None
    numbers = [entry.epoch for entry in epochs]
    if not numbers or numbers != sorted(set(numbers)):
        raise ManifestError("epochs must be listed once each, in ascending order")
    return Manifest(epochs=epochs, tokenizer=tokenizer, **payload)
