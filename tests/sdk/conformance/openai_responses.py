"""Responses by OpenAI's SDK."""

import openai
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from .harness import REPEAT, Place, check, raises, strict
from .openai_chat import client

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@check("responses")
def plain(place: Place) -> None:
    answer = client(place).responses.create(model=place.chat_model, input="hi", instructions="Be brief.")
    strict(answer, Response)
    assert answer.status == "completed" and answer.output_text
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert answer.instructions == "Be brief."


@check("responses")
def streamed(place: Place) -> None:
    events = list(client(place).responses.create(model=place.chat_model, input="hi", stream=True))
    for event in events:
        strict(event, ResponseStreamEvent)
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


@check("responses")
def ends_early_at_the_limit(place: Place) -> None:
    answer = client(place).responses.create(model=place.chat_model, input="hi", max_output_tokens=16)
    assert answer.status == "incomplete" or answer.usage.output_tokens <= 16
    if answer.status == "incomplete":
        assert answer.incomplete_details.reason == "max_output_tokens"


@check("responses", "repeat")
def what_was_said_before_counts(place: Place) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": [{"type": "input_text", "text": REPEAT + "and so on"}]},
    ]
    assert client(place).responses.create(model=place.chat_model, input=messages).output_text == "and so on"


@check("responses", "tools")
def calls_a_tool_and_hears_it(place: Place) -> None:
    items = [{"role": "user", "content": "what is the weather?"}]
    ask = {"model": place.chat_model, "tools": [WEATHER]}
    first = client(place).responses.create(input=items, **ask)
    strict(first, Response)
    call = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather" and "city" in call.arguments
    with client(place).responses.stream(input=items, **ask) as stream:
        for event in stream:
            pass
        streamed = next(item for item in stream.get_final_response().output if item.type == "function_call")
    assert (streamed.name, streamed.arguments) == (call.name, call.arguments)
    items += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert client(place).responses.create(input=items, **ask).output_text


class Event(BaseModel):
    name: str
    day: int


@check("responses", "structured")
def structured(place: Place) -> None:
    answer = client(place).responses.parse(model=place.chat_model, input="an event", text_format=Event)
    assert isinstance(answer.output_parsed, Event)


@check("responses", "reasoning")
def reasons_aloud(place: Place) -> None:
    ask = {"model": place.reasoning_model, "input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}
    answer = client(place).responses.create(**ask)
    strict(answer, Response)
    assert answer.output[0].type == "reasoning" and answer.output[0].summary[0].text
    assert answer.usage.output_tokens_details.reasoning_tokens > 0
    events = list(client(place).responses.create(**ask, stream=True))
    for event in events:
        strict(event, ResponseStreamEvent)
    assert "response.reasoning_summary_text.delta" in [event.type for event in events]


@check("responses", "stateful")
def goes_on_from_an_answer(place: Place) -> None:
    first = client(place).responses.create(model=place.chat_model, input="hi")
    second = client(place).responses.create(model=place.chat_model, input="and?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert client(place).responses.retrieve(first.id).output_text == first.output_text
    ask = {"model": place.chat_model, "input": "and?", "previous_response_id": "resp_unknown"}
    raises(openai.BadRequestError, lambda: client(place).responses.create(**ask))


@check("responses", "stream-faults")
def an_error_in_a_stream_is_raised(place: Place) -> None:
    place.faults("error-event=server,after=4")
    events = []
    try:
        # Before the first text, a router answers with the error at once.
        events.extend(client(place).responses.create(model=place.chat_model, input="hi", stream=True))
    except openai.APIError:
        return
    assert events[-1].type in ("error", "response.failed"), events[-1].type
