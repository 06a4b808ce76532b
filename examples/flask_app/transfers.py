"""Writing: money goes from one account to another, all of it or none."""

from __future__ import annotations

import sqlite3
from typing import Any

from flask import Blueprint, abort, request

from .database import db

transfers = Blueprint("transfers", __name__, url_prefix="/transfers")


@transfers.post("")
def transfer() -> tuple[dict[str, Any], int]:
    """Write one transfer in the ledger, and in both accounts.

    An overdraft is found by the database, in the last statement: the transfer has been written by then, and it is the
    end of the request which undoes it and gives the connection back. See `database.give_back`.
    """
    order = _order()
    db.execute("INSERT INTO transfer VALUES (NULL, :reference, :source, :target, :amount)", order)
    db.execute("UPDATE account SET balance = balance + :amount WHERE id = :target", order)
    db.execute("UPDATE account SET balance = balance - :amount WHERE id = :source", order)
    db.commit()
    db._ret_obj()
    return order, 201


@transfers.errorhandler(sqlite3.IntegrityError)
def refuse(error: sqlite3.IntegrityError) -> tuple[dict[str, str], int]:
    """Tell that the ledger does not allow it: money that is not there, an account that does not exist."""
    return {"error": str(error)}, 409


def _order() -> dict[str, Any]:
    """Read what is to be transferred; 400 when the request does not say it."""
    order = request.get_json()
    try:
        return {name: order[name] for name in ("reference", "source", "target", "amount")}
    except (KeyError, TypeError):
        abort(400, "a transfer has a reference, a source, a target and an amount")
