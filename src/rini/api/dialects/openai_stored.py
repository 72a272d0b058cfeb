"""What the endpoint of OpenAI's responses does for those that are stored, beside what all dialects do."""

from contextlib import suppress

import msgspec
from starlette.types import Receive, Send

from rini.api.dialects.dialect import Asked
from rini.api.dialects.openai_follow import FROM_THE_BEGINNING, ResponseFollower
from rini.api.dialects.openai_state import States
from rini.api.dialects.sessions import InSession
from rini.api.dialects.stored_responses import response_of
from rini.api.lean import ClientLeftError, send_json, while_connected
from rini.db import Database
from rini.models.naming import ModelName
from rini.responses.ids import response_id

_encode = msgspec.json.Encoder().encode


class StoredAnswers:
    """Places requests in sessions, and answers for what goes on in the background."""

    def __init__(self, states: States, follower: ResponseFollower, database: Database) -> None:
        self._states = states
        self._follower = follower
        self._database = database

    async def placed(self, user_id: int, name: ModelName, asked: Asked, session: InSession | None) -> Asked:
        """Return the request with its place in a session. Raises InvalidRequestError, NotFoundError."""
        return await self._states.placed(user_id, name, asked, session)

    async def behind(self, asked: Asked, user_id: int, answer_id: int, receive: Receive, send: Send) -> None:
        """Answer for a response that goes on in the background: with what it is by now, or with its stream."""
        proofs = not asked.hides_proofs
        if not asked.stream:
            streams = self._follower.streams
            body = await self._database.read(response_of, user_id, response_id(answer_id), proofs, streams)
            await send_json(send, 200, _encode(body))
            return
        follow = self._follower.follow
        with suppress(ClientLeftError):
            await while_connected(receive, lambda: follow(user_id, answer_id, send, FROM_THE_BEGINNING, proofs=proofs))
