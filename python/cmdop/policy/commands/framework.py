"""ORMs and frameworks: their commands run the project's code, and some are known to reset a database."""

from __future__ import annotations

import re

from cmdop.policy.effects import Effects, connect, external
from cmdop.policy.invocation import Invocation, Unanalysable
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command

_CHANGES = re.compile(
    r"(db[: ]?)?(push|reset|drop|migrate|rollback|seed|setup|prepare|purge|truncate|fresh|refresh|wipe|flush|sqlflush|loaddata|upgrade|downgrade|stamp|restore|undo|revert|sync|deploy|execute|resolve|up|down|redo|clean|repair|baseline|update|load)"
    r"([: ].*)?|.*:(drop|reset|wipe|fresh|rollback|refresh|truncate|purge|flush|clear|migrate|seed|undo|delete|run|revert|sync)([:-].*)?|(drop|reset|delete|remove|clear|changepassword|createsuperuser|remove_stale).*"
)


@command(*["prisma", "alembic", "django", "django-admin", "rails", "artisan", "drizzle-kit", "sequelize", "sequelize-cli", "typeorm", "knex", "mikro-orm", "flyway", "liquibase", "dbmate", "goose", "migrate", "atlas", "sqlx", "diesel", "sea-orm-cli", "ecto", "aerich", "yoyo", "node-pg-migrate", "db-migrate", "golang-migrate", "sql-migrate", "skeema", "pgroll", "sqitch", "bytebase", "phinx", "doctrine", "wp", "drush", "magento", "symfony", "craft", "typo3", "hasura", "strapi", "medusa", "directus", "payload", "keystone", "bin/rails"])  # fmt: skip
def framework(call: Invocation) -> Effects:
    """Runs code of the project on its database."""
    words = [
        word.text
        for word in operands(
            call,
            frozenset(
                [
                    "--schema",
                    "--config",
                    "-c",
                    "--url",
                    "-n",
                    "--name",
                    "--env",
                    "-e",
                    "--dir",
                    "-d",
                    "--database",
                    "--settings",
                ]
            ),
        )
    ]
    texts = [word.text for word in call.words]
    if not texts or texts in (["--version"], ["-v"], ["version"], ["--help"], ["-h"], ["help"]):
        return
    yield connect("*:*", certain=False)
    if any(_CHANGES.fullmatch(word) for word in [*words[:3], " ".join(words[:2])]) or any(
        text.startswith(("--force", "--accept-data-loss", "--force-reset")) for text in texts
    ):
        yield external(f"database/{call.program.replace('/', '-')}")
    raise Unanalysable(f"`{call.program}` runs code of the project")
