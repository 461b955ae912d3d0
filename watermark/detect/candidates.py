"""Who may be behind a text: accounts and calls, from the gateway's call registry."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watermark.errors import InputError

# Of the 64 bits that the format has for an account number, the gateway uses 24.
LARGEST_ACCOUNT = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the registry tells of a call; `time` is RFC 3339."""

    number: int
    account: int
    time: str
    model: str


@dataclass(slots=True)
class Candidates:
    """Account numbers with their names ("" if unknown), and calls by account."""

    accounts: dict[int, str] = field(default_factory=dict)
    calls: dict[int, dict[int, CallRecord]] = field(default_factory=dict)

    def add_range(self, text: str) -> None:
        """Add the accounts of an inclusive range such as "1-24000"; raises InputError."""
        match = re.fullmatch("([0-9]{1,8})-([0-9]{1,8})", text)
        low, high = map(int, match.groups()) if match else (1, 0)
        if not low <= high <= LARGEST_ACCOUNT:
            raise InputError(
                f"account range {text!r}: expected LOW-HIGH, for example 1-24000, "
                f"at most {LARGEST_ACCOUNT}"
            )
        for number in range(low, high + 1):
            self.accounts.setdefault(number, "")

    def add_registry(self, path: Path, report: Callable[[str], None]) -> None:
        """Add the accounts and calls of a registry file (JSON lines).

        A line that is no entry (torn by a crash, say) is told to `report` and left out; a
        last line without its newline is a write in progress and is left out silently.
        Raises InputError if the file cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the call registry cannot be read ({error})") from error
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                entry = json.loads(line)
                record = _record(entry)
            except (ValueError, KeyError, TypeError, RecursionError):
                report(f"{path}:{number}: not a registry entry; line left out")
                continue
            self.accounts[record.account] = str(entry.get("name", ""))
            self.calls.setdefault(record.account, {})[record.number] = record


def _record(entry: dict[str, Any]) -> CallRecord:
    call, account = entry["call"], entry["account"]
    if any(type(number) is not int or not 0 <= number < 1 << 64 for number in (call, account)):
        raise ValueError("a number outside the format")
    return CallRecord(call, account, str(entry["time"]), str(entry["model"]))
