"""From finished turns to the documents that /llm answers with."""

from collections.abc import Sequence
from decimal import Decimal

from rini.api.native_schemas import (
    ChatCompletionResponse,
    ContextShown,
    MessageShown,
    TextCompletionResponse,
    UsageShown,
)
from rini.canon import Part, Reply, Thinking
from rini.db import AnyRow
from rini.sessions.shown import shown, tool_uses
from rini.turns.settle import total
from rini.turns.stored import Stored
from rini.turns.values import Answer, Loaded
from rini.usage.usage_record import UsageRecord

_MESSAGE_FIELDS = MessageShown.__struct_fields__


def text_completion(answer: Answer) -> TextCompletionResponse:
    """Return the document of a finished /llm/text-completion/ or /llm/image-completion/."""
    return TextCompletionResponse(
        response_text=answer.reply.text,
        session_id=answer.question.session_id if answer.question is not None else None,
        user_message=question(answer.begun.loaded),
        assistant_message=message(answer.answer) if answer.answer is not None else None,
        thinking=_thoughts(answer.parts),
        model=_model(answer),
        finish_reason=_finish_reason(answer.reply),
        tool_calls=tool_uses(answer.parts),
        context=None if answer.begun.loaded is None else context(answer.begun.loaded),
        usage=usage(answer.records),
    )


def stored_completion(stored: Stored) -> TextCompletionResponse:
    """Return the document of a finished turn as its own answer was, from what is stored of it."""
    row, parts = stored.answer, stored.parts
    return TextCompletionResponse(
        response_text=row.content,
        session_id=row.session_id,
        user_message=None if stored.question is None else message(stored.question, stored.labels),
        assistant_message=message(row),
        thinking=_thoughts(parts),
        model=row.model_used,
        finish_reason=row.finish_reason,
        tool_calls=tool_uses(parts),
        context=stored_context(stored),
        usage=usage(stored.records),
    )


def stored_context(stored: Stored) -> ContextShown | None:
    """Return the document of what the model was not given of the conversation; None where it was given all."""
    cut = stored.cut
    if cut is None:
        return None
    return ContextShown(
        cut=cut.id,
        after_message_id=cut.message_id,
        made_now=cut.created_at >= stored.answer.created_at,
        summary=cut.provider is not None,
        reason=cut.reason,
    )


def chat_completion(answer: Answer) -> ChatCompletionResponse:
    """Return the document of a finished /llm/chat-completions/."""
    used = usage(answer.records)
    return ChatCompletionResponse(
        response_text=answer.reply.text,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        thinking=_thoughts(answer.parts),
        model=_model(answer),
        finish_reason=_finish_reason(answer.reply),
        tool_calls=tool_uses(answer.parts),
        usage=used,
    )


def context(loaded: Loaded) -> ContextShown | None:
    """Return the document of what the model was not given of the conversation; None where it was given all."""
    cut = loaded.reading.cut
    if cut is None or cut.id is None:
        return None
    return ContextShown(
        cut=cut.id,
        after_message_id=cut.message_id,
        made_now=bool(loaded.reading.gone),
        summary=cut.provider is not None,
        reason=cut.reason,
    )


def question(loaded: Loaded | None) -> MessageShown | None:
    """Return the document of a turn's question; None where it has none."""
    return None if loaded is None or loaded.question is None else message(loaded.question, loaded.labels)


def message(row: AnyRow, labels: tuple[str, ...] = ()) -> MessageShown:
    """Return a message's document."""
    fields = shown(row)
    fields["labels"] = [*labels]
    return MessageShown(**{name: fields[name] for name in _MESSAGE_FIELDS})


def usage(records: "Sequence[UsageRecord | AnyRow]") -> UsageShown:
    """Return the document of what a turn's calls used together; it has no price when one of them has none."""
    prompt = total([record.input_tokens for record in records])
    completion = total([record.output_tokens for record in records])
    # What a provider refused as too long, before it was asked with less, cost nothing.
    records = [record for record in records if record.outcome != "refused"] or records
    costs = [record.cost_usd for record in records if record.cost_usd is not None]
    return UsageShown(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=None if prompt is completion is None else (prompt or 0) + (completion or 0),
        cache_read_tokens=total([record.cache_read_tokens for record in records]),
        cache_write_tokens=total([record.cache_write_tokens for record in records]),
        reasoning_tokens=total([record.reasoning_tokens for record in records]),
        cost_usd=f"{sum(costs, Decimal(0)).normalize():f}" if len(costs) == len(records) else None,
    )


def _model(answer: Answer) -> str:
    return answer.reply.model or answer.records[-1].model


def _thoughts(parts: tuple[Part, ...]) -> str | None:
    return "".join(part.text for part in parts if isinstance(part, Thinking)) or None


def _finish_reason(reply: Reply) -> str | None:
    return reply.choices[0].finish_reason if reply.choices else None
