"""Reading: what there is, and what has happened to it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort

from .database import db

accounts = Blueprint("accounts", __name__, url_prefix="/accounts")


@accounts.get("")
def overview() -> dict[str, Any]:
    """How many accounts there are, and what they hold together: transfers never change it."""
    accounts, total = db.execute("SELECT count(*), sum(balance) FROM account").fetchone()
    db._ret_obj()
    return {"accounts": accounts, "total": total}


@accounts.get("/<int:number>")
def statement(number: int) -> dict[str, Any]:
    """One account, and its latest transfers."""
    rows = db.execute("SELECT owner, balance FROM account WHERE id = ?", (number,)).fetchall()
    latest = db.execute(
        "SELECT reference, source, target, amount FROM transfer WHERE ? IN (source, target) ORDER BY id DESC LIMIT 5",
        (number,),
    ).fetchall()
    db._ret_obj()  # before the answer is put together: others can have the connection meanwhile
    if not rows:
        abort(404, f"there is no account {number}")
    [(owner, balance)] = rows
    return {"id": number, "owner": owner, "balance": balance, "latest": latest}
