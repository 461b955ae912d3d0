"""Accounts: who may call, under which limits, and by which keys.

records.py     what is kept of an account, and its checks
book.py        the accounts of a store while a command changes them
changes.py     add, rotate, suspend, resume: the same for every store
importing.py   many accounts from a CSV or JSONL file, all or none
file_store.py  the accounts file: private, locked, replaced at once
redis_store.py the same in Redis, for several gateways
directory.py   the accounts in a gateway's memory, looked up by key
"""

from proxy.accounts.directory import Account, Accounts
from proxy.accounts.file_store import add

__all__ = ["Account", "Accounts", "add"]
