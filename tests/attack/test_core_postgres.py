"""A server on a Postgres that drops its connections again and again."""

import time
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa


def test_connections_that_the_database_drops(new_server, new_postgres_url):
    url = new_postgres_url()
    server = new_server(RINI_DATABASE_URL=url)
    user = server.user()
    sessions = [user.session() for _ in range(8)]
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    until = time.monotonic() + 2.5
    told: list[tuple[str, str]] = []

    def talk(session: str) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            answer = user.ask(f"{session}:{number}", session_id=session)
            assert answer.status in (200, 401, 503), answer.body
            if answer.status == 200:
                told.append((session, answer.json["response_text"]))

    with ThreadPoolExecutor(8) as pool, engine.connect() as connection:
        talking = [pool.submit(talk, session) for session in sessions]
        while time.monotonic() < until:
            connection.execute(
                sa.text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            )
            time.sleep(0.05)
        for each in talking:
            each.result()
        assert user.ask("after", session_id=sessions[0]).status == 200
        stored = connection.execute(
            sa.text("select session_id, content, parent_message_id from messages where role = 'assistant'")
        ).all()
        booked = connection.execute(sa.text("select count(*), count(distinct message_id) from usage_records")).one()
        questions = connection.execute(
            sa.text("select count(*), count(distinct content) from messages where role = 'user'")
        ).one()
    engine.dispose()
    assert len(told) > 20
    assert set(told) <= {(row.session_id, row.content) for row in stored}, "told as stored, and is not"
    parents = [row.parent_message_id for row in stored]
    assert len(set(parents)) == len(parents), "an answer was stored twice"
    assert questions[0] == questions[1], "a question was stored twice"
    assert booked[0] >= len(stored)
    assert "request_failed" not in server.logged()
