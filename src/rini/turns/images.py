"""Images within a turn: what came with the question is kept, and what the conversation holds is shown to the provider as it takes it.

A stored message names its image by ``rini:<reference>``; the bytes are fetched, and fitted to the provider's limits, for each call.
"""

import base64
from collections import OrderedDict

import msgspec

from rini.canon import Image, Media, Message, Text
from rini.errors import NotFoundError
from rini.files.headers import BrokenImageError, ImageInfo, read_header, type_of
from rini.files.names import safe_filename
from rini.files.store import Files
from rini.providers.vision import ImageLimits, image_limits
from rini.turns.values import Ask, StoredFile

SCHEME = "rini:"
KEPT_BYTES = 64 * 1024 * 1024
LOST = "[An image was here. It cannot be read any more.]"


class Images:
    """Keeps and shows images. One for each process."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._kept: OrderedDict[tuple[str, ImageLimits], Media] = OrderedDict()
        self._kept_bytes = 0

    async def received(self, ask: Ask) -> Ask:
        """Return ``ask`` with its image, as the provider takes it, among the parts of the last message.

        Raises NoVisionError, ImageRefusedError.
        """
        upload = ask.image
        if upload is None:
            return ask
        # Late, here and below: Pillow takes 3 MB that a process without images need not spend.
        from rini.files.images import inspect, unhurried  # noqa: PLC0415

        limits = image_limits(ask.provider, ask.model)
        info = await unhurried(inspect, upload.data)
        image = Image(await unhurried(_media, upload.data, info, limits))
        last = ask.messages[-1]
        asked = msgspec.structs.replace(last, parts=(image, *last.parts))
        return msgspec.structs.replace(ask, messages=(*ask.messages[:-1], asked))

    async def kept(self, ask: Ask) -> Ask:
        """Keep the file that was received and return ``ask`` with an image that names it. Raises FilesUnavailableError.

        A message must name it soon, or ``forget`` it.
        """
        last, upload = ask.messages[-1], ask.image
        image, *others = last.parts
        if upload is None or not isinstance(image, Image):
            return ask
        mime_type = type_of(upload.data) or ""
        reference = await self._files.save(ask.user_id, upload.data, mime_type)
        self._remember(reference, image_limits(ask.provider, ask.model), image.media)
        named = Image(Media(url=SCHEME + reference, mime_type=mime_type))
        return msgspec.structs.replace(
            ask,
            messages=(*ask.messages[:-1], msgspec.structs.replace(last, parts=(named, *others))),
            file=StoredFile(reference, mime_type, safe_filename(upload.filename)),
            image=None,
        )

    async def forget(self, ask: Ask) -> None:
        """Delete the file of a question that was not stored."""
        if ask.file is not None:
            await self._files.delete([ask.file.reference])

    async def shown(self, ask: Ask, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return ``messages`` with the bytes of their stored images, as ``ask``'s provider takes them.

        In place of one that the storage has lost the model is told so. Raises NoVisionError, ImageRefusedError, FilesUnavailableError.
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
            await self._fetched(ask, part, reference, limits)
            if isinstance(part, Image) and (reference := _reference(part))
            else part
            for part in message.parts
        ]
        return msgspec.structs.replace(message, parts=tuple(parts))

    async def _fetched(self, ask: Ask, image: Image, reference: str, limits: ImageLimits) -> Image | Text:
        media = self._kept.get((reference, limits))
        if media is None:
            from rini.files.images import unhurried  # noqa: PLC0415

            try:
                data = await self._files.read(ask.user_id, reference)
                media = await unhurried(_media_of_stored, data, limits)
            except (NotFoundError, BrokenImageError):
                # Refused, it would end the conversation: the image is in every later question too.
                return Text(LOST)
            self._remember(reference, limits, media)
        else:
            self._kept.move_to_end((reference, limits))
        return msgspec.structs.replace(image, media=media)

    def _remember(self, reference: str, limits: ImageLimits, media: Media) -> None:
        name = (reference, limits)
        before = self._kept.pop(name, None)
        self._kept[name] = media
        self._kept_bytes += _size(media) - (_size(before) if before else 0)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= _size(self._kept.popitem(last=False)[1])


def _media(data: bytes, info: ImageInfo, limits: ImageLimits) -> Media:
    from rini.files.images import fitted  # noqa: PLC0415

    image = fitted(data, info, limits)
    return Media(data=base64.b64encode(image.data).decode(), mime_type=image.mime_type)


def _media_of_stored(data: bytes, limits: ImageLimits) -> Media:
    mime_type = type_of(data)
    if mime_type is None:
        raise BrokenImageError("is no image any more")
    return _media(data, read_header(data, mime_type), limits)


def _size(media: Media) -> int:
    return len(media.data or "")


def _reference(part: object) -> str | None:
    if isinstance(part, Image) and part.media.url is not None and part.media.url.startswith(SCHEME):
        return part.media.url.removeprefix(SCHEME)
    return None
