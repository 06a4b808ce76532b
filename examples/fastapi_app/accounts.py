"""Reading: what there is, and what has happened to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from examples.fastapi_app.database import Shared

accounts = APIRouter(prefix="/accounts")


@accounts.get("")
async def overview(database: Shared) -> dict[str, Any]:
    """How many accounts there are, and what they hold together: transfers never change it."""
    async with database.borrow() as connection:
        [(number, total)] = await connection.execute_fetchall("SELECT count(*), sum(balance) FROM account")
    return {"accounts": number, "total": total}


@accounts.get("/{number}")
async def statement(number: int, database: Shared) -> dict[str, Any]:
    """One account, and its latest transfers."""
    async with database.borrow() as connection:
        rows = await connection.execute_fetchall("SELECT owner, balance FROM account WHERE id = ?", (number,))
        latest = await connection.execute_fetchall(
            "SELECT reference, source, target, amount FROM transfer"
            " WHERE ? IN (source, target) ORDER BY id DESC LIMIT 5",
            (number,),
        )
    for owner, balance in rows:
        return {"id": number, "owner": owner, "balance": balance, "latest": list(latest)}
    raise HTTPException(404, f"there is no account {number}")
