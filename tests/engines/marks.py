"""Keys, tickets and plain scoring for the engine tests."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import cast

from watermark.keys import Keyring, create_keyring
from watermark.manifest import Channel, Manifest, Parameters, TokenizerPin
from watermark.reference import count
from watermark.ticket import Ticket, sign

# Strong enough that some thirty windows of an account suffice for p < 1e-9.
DELTA_MILLINATS = 6000


@dataclass(frozen=True)
class Keys:
    """A keyring made for the tests, what an engine gets of it, and a stranger's keyring."""

    keyring: Keyring
    manifest: Manifest
    engine: Path
    manifest_path: Path
    stranger: Keyring

    @classmethod
    def create(
        cls,
        directory: Path,
        tokenizer: TokenizerPin | None = None,
        *,
        delta_millinats: int = DELTA_MILLINATS,
    ) -> "Keys":
        keyring = create_keyring(
            directory / "keyring.json",
            directory / "manifest.json",
            parameters=Parameters(delta_millinats=delta_millinats),
            tokenizer=tokenizer,
        )
        keyring.export("engine", directory / "engine.json")
        create_keyring(directory / "other.json", directory / "other-manifest.json")
        return cls.load(directory)

    @classmethod
    def load(cls, directory: Path) -> "Keys":
        """Read what `create` made."""
        keyring = Keyring.load(directory / "keyring.json")
        manifest_path = directory / "manifest.json"
        return cls(
            keyring,
            keyring.manifest(manifest_path),
            directory / "engine.json",
            manifest_path,
            Keyring.load(directory / "other.json"),
        )

    def environment(self) -> dict[str, str]:
        return {
            "AZEOTROPE_KEYS": str(self.engine),
            "AZEOTROPE_MANIFEST": str(self.manifest_path),
        }

    def ticket(
        self, account: int, *, call: int = 0, seconds: int = 3600, forged: bool = False
    ) -> str:
        ticket = Ticket(
            epoch=self.keyring.current.epoch,
            account=account,
            call=call or call_number(account),
            delta_millinats=self.manifest.delta_millinats,
            level=0,
            expires=int(time.time()) + seconds,
        )
        return sign(ticket, (self.stranger if forged else self.keyring).current.ticket)

    def p_value(self, tokens: Sequence[int], channel: str, account: int = 0) -> float:
        """Exact p of a channel in an answer's tokens; `account` names its account or call."""
        keys = self.keyring.current
        counts = count(
            tokens,
            keys,
            self.manifest.parameters(keys.epoch),
            account=account if channel == "account" else None,
            call=call_number(account) if channel == "call" else None,
        )
        windows, hits = counts[cast(Channel, channel)].windows, counts[cast(Channel, channel)].hits
        return binomial_tail(windows, hits, self.manifest.gamma)


def call_number(account: int) -> int:
    return account << 40 | 7


def binomial_tail(windows: int, hits: int, gamma: float) -> float:
    """P(X >= hits) for X ~ Binomial(windows, gamma), by the definition."""
    return sum(
        comb(windows, k) * gamma**k * (1 - gamma) ** (windows - k) for k in range(hits, windows + 1)
    )
