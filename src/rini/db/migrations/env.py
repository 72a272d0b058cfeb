from alembic import context
from sqlalchemy import create_engine, pool
from sqlalchemy.engine import Connection

from rini.settings import load_settings


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = create_engine(load_settings().database, poolclass=pool.NullPool)
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
