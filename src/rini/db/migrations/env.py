from alembic import context
from sqlalchemy.engine import Connection

from rini.db.base import metadata
from rini.db.migrate import alone
from rini.settings import load_settings


def migrate(connection: Connection) -> None:
    # The transaction is the connection's. The metadata are here for the names that they give to constraints.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
elif context.is_offline_mode():
    context.configure(
        url=load_settings().database, target_metadata=metadata, transactional_ddl=True, literal_binds=True
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with alone(load_settings().database) as connection:
        migrate(connection)
