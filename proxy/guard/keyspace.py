"""Every Redis key of the gateway: name, type, life time, and who writes it.

| key                          | type   | life time                | content                     |
|------------------------------|--------|--------------------------|-----------------------------|
| az:{NUMBER}:requests         | string | until the limit is reset | GCRA: theoretical arrival   |
|                              |        |                          | time, µs since 2026         |
| az:{NUMBER}:calls            | string | CALLS_TTL_S after a call | sequence of the last call   |
| az:{NUMBER}:leases           | zset   | LEASE_MS after the last  | token of a running call, by |
|                              |        | lease was taken, renewed | its expiry, ms since 2026   |

NUMBER is the account's, in braces: all keys of one account lie in one hash slot, so
that one script may touch them on a cluster. Account 0 is nobody's: probes use it.
admit.lua writes all three, renew.lua and ZREM the leases.

Nothing of these must outlive Redis. After a loss the limits begin anew, call numbers go on
from the clock, and running calls take their leases again. With `accounts: redis` it also
holds what must not be lost, written by proxy/accounts/redis_store.py and never expiring
(an import first writes to the same names with a suffix, for ten minutes at most):

| key                          | type   | content                                             |
|------------------------------|--------|-----------------------------------------------------|
| az:{accounts}:records        | hash   | number: the account as JSON, with hashes of keys    |
| az:{accounts}:names          | hash   | name: number                                        |
| az:{accounts}:changes        | zset   | number, scored by the version that changed it last  |
| az:{accounts}:meta           | hash   | format, pepper, last_number, version                |
"""

from __future__ import annotations

# The epoch of all times that Lua handles: microseconds since 1970 would do too, but the
# smaller numbers keep well below 2^53, where Lua's numbers stop being exact.
EPOCH_2026 = 1_767_225_600  # 2026-01-01T00:00:00Z, Unix seconds

# A sequence is at least the clock's milliseconds, so the last one matters only while it
# may be ahead of the clock. Two days also cover a clock that is set back by a day.
CALLS_TTL_S = 172_800

# How long a crashed gateway's calls still count; renewed three times within it.
LEASE_MS = 60_000
RENEW_S = 20.0

PROBE_ACCOUNT = 0

ACCOUNTS_RECORDS = "az:{accounts}:records"
ACCOUNTS_NAMES = "az:{accounts}:names"
ACCOUNTS_CHANGES = "az:{accounts}:changes"
ACCOUNTS_META = "az:{accounts}:meta"


def account_keys(number: int) -> tuple[str, str, str]:
    """Return the keys that admit.lua takes, in its order."""
    return f"az:{{{number}}}:requests", f"az:{{{number}}}:calls", leases_key(number)


def leases_key(number: int) -> str:
    """Return the key of an account's leases."""
    return f"az:{{{number}}}:leases"
