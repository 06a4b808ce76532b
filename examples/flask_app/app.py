"""The application factory: the blueprints are imported first, the database is set afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from . import database
from .accounts import accounts
from .monitoring import monitoring
from .transfers import transfers


def create_app(config: Mapping[str, Any], init_database: Callable[[Flask], None] = database.init_app) -> Flask:
    """Make the application.

    `config` has ``DB_PATH``, the database file, and may have ``DB_MAX_SIZE``, 10 connections unless told otherwise.
    `init_database` sets ``db``; the demonstration's other way of doing so is `per_request.init_app`.
    """
    app = Flask(__name__)
    app.config.from_mapping({"DB_MAX_SIZE": 10, **config})
    init_database(app)
    for blueprint in (accounts, transfers, monitoring):
        app.register_blueprint(blueprint)
    return app
