"""`rini user`, beside a running server."""

from collections.abc import Callable

from tests.cli.conftest import Run
from tests.support.server import Client, Server


def test_users_and_tokens_made_by_an_operator_work(new_server: Callable[..., Server], rini: Run):
    server = new_server(RINI_SIGNUP="closed")
    here = {"RINI_DATA_DIR": str(server.data_dir)}
    assert Client(server.url).post("/users/").status == 403
    made = rini("user", "create", **here)
    assert (made.returncode, made.stderr) == (0, "")
    name, token = made.stdout.splitlines()
    user = Client(server.url, token)
    assert user.get("/users/me").json == {"id": int(name.removeprefix("user "))}
    another = rini("user", "token", name.removeprefix("user "), **here)
    assert another.returncode == 0
    assert Client(server.url, another.stdout.strip()).get("/users/me").json == user.get("/users/me").json
    # A token that was not seen within the last seconds is refused at once.
    name, unused = rini("user", "create", **here).stdout.splitlines()
    gone = rini("user", "delete", name.removeprefix("user "), **here)
    assert (gone.returncode, gone.stderr) == (0, "")
    assert Client(server.url, unused).get("/users/me").status == 401


def test_a_token_of_a_deleted_user_is_not_good_for_the_next_one(rini: Run):
    first = rini("user", "create").stdout.splitlines()
    rini("user", "delete", first[0].removeprefix("user "))
    second = rini("user", "create").stdout.splitlines()
    assert second[0] == "user 2"


def test_an_unknown_user_is_one_line(rini: Run):
    rini("db", "upgrade")
    for action in ("token", "delete"):
        for number in ("7", "0", "-1", "99999999999999999999"):
            done = rini("user", action, "--", number)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.splitlines()[-1] == f"rini: There is no user {number}."
