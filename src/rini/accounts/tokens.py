"""The tokens of POST /users/ and `rini user`: JWTs that name a user, for some hours."""

from datetime import timedelta
from typing import Literal

import jwt
import msgspec

from rini.errors import NotAuthenticatedError
from rini.kit.clock import now

Algorithm = Literal["HS256", "HS384", "HS512"]


class TokenIssuer(msgspec.Struct, frozen=True):
    """Signs and checks tokens. ``lifetime_minutes`` counts from the moment of issue."""

    key: bytes
    algorithm: Algorithm
    lifetime_minutes: int

    def issue(self, user_id: int) -> str:
        """Return a token for ``user_id``."""
        issued = now()
        claims = {"sub": str(user_id), "iat": issued, "exp": issued + timedelta(minutes=self.lifetime_minutes)}
        return jwt.encode(claims, self.key, self.algorithm)

    def read(self, token: str) -> tuple[int, float]:
        """Return the user id and the expiry (seconds since the epoch). Raises NotAuthenticatedError."""
        try:
            claims = jwt.decode(token, self.key, algorithms=[self.algorithm], options={"require": ["exp", "sub"]})
            return int(claims["sub"]), float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise NotAuthenticatedError("The access token has expired; ask for a new one.") from None
        except (jwt.InvalidTokenError, ValueError):
            raise NotAuthenticatedError("The access token is not valid.") from None
