"""Images within a turn: what came with the question is kept, and what the conversation holds is shown to the provider as it takes it.

A stored message names its image by ``rini:<reference>``; the bytes are fetched, and fitted to the provider's limits, for each call.
"""

import base64
from collections import OrderedDict

import msgspec

from rini.canon import Image, Media, Message
from rini.files.headers import read_header
from rini.files.images import Fitted, fitted, inspect, unhurried
from rini.files.names import safe_filename
from rini.files.store import Files
from rini.providers.vision import ImageLimits, image_limits
from rini.turns.values import Ask, StoredFile

SCHEME = "rini:"
KEPT_BYTES = 64 * 1024 * 1024


class Images:
    """Keeps and shows images. One for each process."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._kept: OrderedDict[tuple[str, ImageLimits], Media] = OrderedDict()
        self._kept_bytes = 0

    async def received(self, ask: Ask) -> Ask:
        """Return ``ask`` with its image among the parts of the last message; in a session the file is kept.

        Raises NoVisionError, ImageRefusedError, FilesUnavailableError, before anything is kept.
        """
        upload = ask.image
        if upload is None:
            return ask
        limits = image_limits(ask.provider, ask.model)
        info = await unhurried(inspect, upload.data)
        media = _media(await unhurried(fitted, upload.data, info, limits))
        file = None
        if ask.session_id is not None:
            reference = await self._files.save(ask.user_id, upload.data, info.mime_type)
            file = StoredFile(reference, info.mime_type, safe_filename(upload.filename))
            self._remember(reference, limits, media)
            media = Media(url=SCHEME + reference, mime_type=info.mime_type)
        last = ask.messages[-1]
        asked = msgspec.structs.replace(last, parts=(Image(media), *last.parts))
        return msgspec.structs.replace(ask, messages=(*ask.messages[:-1], asked), file=file, image=None)

    async def forget(self, ask: Ask) -> None:
        """Delete the file of a question that was not stored."""
        if ask.file is not None:
            await self._files.delete([ask.file.reference])

    async def shown(self, ask: Ask, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return ``messages`` with the bytes of their stored images, as ``ask``'s provider takes them.

        Raises NoVisionError, ImageRefusedError, FilesUnavailableError.
        """
        images = [part for message in messages for part in message.parts if isinstance(part, Image)]
        if not any(map(_reference, images)):
            return messages
        limits = image_limits(ask.provider, ask.model, len(images))
        return tuple([await self._message(ask, message, limits) for message in messages])

    async def _message(self, ask: Ask, message: Message, limits: ImageLimits) -> Message:
        if not any(map(_reference, message.parts)):
            return message
        parts = [
            msgspec.structs.replace(part, media=await self._fetched(ask, part.media, reference, limits))
            if isinstance(part, Image) and (reference := _reference(part))
            else part
            for part in message.parts
        ]
        return msgspec.structs.replace(message, parts=tuple(parts))

    async def _fetched(self, ask: Ask, stored: Media, reference: str, limits: ImageLimits) -> Media:
        media = self._kept.get((reference, limits))
        if media is None:
            data = await self._files.read(ask.user_id, reference)
            media = _media(await unhurried(fitted, data, read_header(data, stored.mime_type or ""), limits))
            self._remember(reference, limits, media)
        else:
            self._kept.move_to_end((reference, limits))
        return media

    def _remember(self, reference: str, limits: ImageLimits, media: Media) -> None:
        name = (reference, limits)
        before = self._kept.pop(name, None)
        self._kept[name] = media
        self._kept_bytes += _size(media) - (_size(before) if before else 0)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= _size(self._kept.popitem(last=False)[1])


def _media(image: Fitted) -> Media:
    return Media(data=base64.b64encode(image.data).decode(), mime_type=image.mime_type)


def _size(media: Media) -> int:
    return len(media.data or "")


def _reference(part: object) -> str | None:
    if isinstance(part, Image) and part.media.url is not None and part.media.url.startswith(SCHEME):
        return part.media.url.removeprefix(SCHEME)
    return None
