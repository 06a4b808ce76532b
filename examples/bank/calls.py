"""What the clients of the bank ask for: mostly to read, often to write, and now and then too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from examples.bank.ledger import ACCOUNTS, OPENING_BALANCE
from examples.harness.load import Call


def choose(random: Random, reference: str) -> Call:
    """Choose the next request; if it is a transfer, it has that reference."""
    [make] = random.choices([call for call, _ in MIX], [share for _, share in MIX])
    return make(random, reference)


def choose_impatiently(random: Random, reference: str) -> Call:
    """Choose the same, but for a client that may go before it has its answer: mostly in the middle of the work."""
    call = choose(random, reference)
    return replace(call, patience=random.uniform(0.001, 0.05)) if random.random() < 0.1 else call


def _overview(_random: Random, _reference: str) -> Call:
    return Call("GET", "/accounts")


def _statement(random: Random, _reference: str) -> Call:
    return Call("GET", f"/accounts/{random.randint(1, ACCOUNTS)}")


def _transfer(random: Random, reference: str) -> Call:
    return _order(random, reference, amount=random.randint(1, 9), expected=201)


def _overdraft(random: Random, reference: str) -> Call:
    return _order(random, reference, amount=ACCOUNTS * OPENING_BALANCE + 1, expected=409)


def _order(random: Random, reference: str, *, amount: int, expected: int) -> Call:
    source, target = random.sample(range(1, ACCOUNTS + 1), 2)
    order = {"reference": reference, "source": source, "target": target, "amount": amount}
    return Call("POST", "/transfers", expected, order)


#: What the clients do, and the share of each in percent.
MIX: list[tuple[Callable[[Random, str], Call], int]] = [
    (_overview, 20),
    (_statement, 45),
    (_transfer, 30),
    (_overdraft, 5),
]
