"""Writing: money goes from one account to another, all of it or none."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from examples.fastapi_app.database import Shared

transfers = APIRouter(prefix="/transfers")


class Order(BaseModel):
    """What is to be transferred."""

    reference: str
    source: int
    target: int
    amount: int


@transfers.post("", status_code=201)
async def transfer(order: Order, database: Shared) -> Order:
    """Write one transfer in the ledger, and in both accounts.

    An overdraft is found by the database, in the last statement: the transfer has been written by then, and it is the
    pool which undoes it, when the connection comes back. See `database.undo`.
    """
    values = order.model_dump()
    async with database.borrow() as connection:
        await connection.execute("INSERT INTO transfer VALUES (NULL, :reference, :source, :target, :amount)", values)
        await connection.execute("UPDATE account SET balance = balance + :amount WHERE id = :target", values)
        await connection.execute("UPDATE account SET balance = balance - :amount WHERE id = :source", values)
        await connection.commit()
    return order
