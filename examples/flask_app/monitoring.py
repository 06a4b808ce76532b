"""What the pool is doing, as a page: for a dashboard, or for whoever asks why it is slow."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app

from .database import db

monitoring = Blueprint("monitoring", __name__)


@monitoring.get("/stats")
def stats() -> dict[str, Any]:
    """Connections opened since the start, and the pool's statistics if there is one. Takes no connection."""
    opened = current_app.extensions["connector"].opened  # counted where they are opened, not by the pool
    page: dict[str, Any] = {"opened": opened, "pool": None}
    if db._pool is not None:
        page["pool"] = db._pool.stats()
    return page
