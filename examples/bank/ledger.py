"""The database file itself: how it is made, and how it is audited once nobody uses it any more.

On purpose it knows nothing of pools and proxies: it checks what the application has done with them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

#: How many accounts there are, numbered from 1, and what each of them holds at first.
ACCOUNTS, OPENING_BALANCE = 50, 1_000_000

SCHEMA = """
PRAGMA journal_mode = WAL; -- readers and the writer do not wait for each other; the file remembers it
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS transfer (
    id INTEGER PRIMARY KEY,
    reference TEXT NOT NULL, -- not UNIQUE: the audit shows that nothing is written twice, without being helped to
    source INTEGER NOT NULL REFERENCES account,
    target INTEGER NOT NULL REFERENCES account,
    amount INTEGER NOT NULL CHECK (amount > 0)
);
CREATE INDEX IF NOT EXISTS transfer_source ON transfer (source);
CREATE INDEX IF NOT EXISTS transfer_target ON transfer (target);
"""

UNBALANCED = """
SELECT id FROM account WHERE balance != ?
    + (SELECT total(amount) FROM transfer WHERE target = account.id)
    - (SELECT total(amount) FROM transfer WHERE source = account.id)
"""


@dataclass(frozen=True)
class Audit:
    """What the file holds."""

    references: list[str]  # of all transfers, in the order in which they were written
    unbalanced: list[int]  # accounts whose balance is not what their transfers make it: half a transaction got in


def create(path: str | Path) -> None:
    """Make the tables and the accounts, unless they are there already."""
    accounts = [(number, f"owner {number}", OPENING_BALANCE) for number in range(1, ACCOUNTS + 1)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT OR IGNORE INTO account VALUES (?, ?, ?)", accounts)


def audit(path: str | Path) -> Audit:
    """Read what the file holds, over a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        references = connection.execute("SELECT reference FROM transfer ORDER BY id").fetchall()
        unbalanced = connection.execute(UNBALANCED, (OPENING_BALANCE,)).fetchall()
    return Audit([reference for (reference,) in references], [number for (number,) in unbalanced])
