"""Messages by Anthropic's SDK."""

import anthropic
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared.enforced_spend_limit_reached_error import EnforcedSpendLimitReachedError
from anthropic.types.shared.ramp_limit_exceeded_error import RampLimitExceededError

from .harness import REPEAT, Place, check, raises, strict

WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}


def client(place: Place, **options) -> anthropic.Anthropic:
    return anthropic.Anthropic(**({"base_url": place.url, "api_key": place.key, "max_retries": 0} | options))


def ask(place: Place, text: str = "hi", **more) -> dict:
    return {"model": place.claude, "max_tokens": 256, "messages": [{"role": "user", "content": text}]} | more


@check("messages")
def plain(place: Place) -> None:
    answer = client(place).messages.create(**ask(place))
    strict(answer, Message)
    assert answer.role == "assistant" and answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


@check("messages")
def streamed(place: Place) -> None:
    events = list(client(place).messages.create(**ask(place), stream=True))
    for event in events:
        strict(event, RawMessageStreamEvent)
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and kinds[-2] == "message_delta"
    answer = client(place).messages.create(**ask(place))
    with client(place).messages.stream(**ask(place)) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == answer.content[0].text
    assert final.stop_reason == answer.stop_reason
    assert final.usage.output_tokens == answer.usage.output_tokens


@check("messages")
def cut_at_the_limit(place: Place) -> None:
    answer = client(place).messages.create(**ask(place, max_tokens=3))
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 3


@check("messages", "repeat", "same-api")
def ends_at_a_stop_sequence(place: Place) -> None:
    answer = client(place).messages.create(**ask(place, REPEAT + "one STOP two", stop_sequences=["STOP"]))
    assert (answer.content[0].text, answer.stop_reason, answer.stop_sequence) == ("one ", "stop_sequence", "STOP")


@check("messages", "tools")
def calls_a_tool_and_hears_it(place: Place) -> None:
    first = client(place).messages.create(**ask(place, tools=[WEATHER]))
    strict(first, Message)
    call = next(block for block in first.content if block.type == "tool_use")
    assert first.stop_reason == "tool_use" and call.name == "weather" and "city" in call.input
    with client(place).messages.stream(**ask(place, tools=[WEATHER])) as stream:
        streamed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert (streamed.id, streamed.name, streamed.input) == (call.id, call.name, call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client(place).messages.create(**ask(place, tools=[WEATHER], messages=messages))
    assert second.stop_reason == "end_turn" and second.content[0].text


@check("messages", "tools")
def calls_several_tools(place: Place) -> None:
    both = ask(place, "both in parallel, please", tools=[WEATHER, CLOCK])
    answer = client(place).messages.create(**both)
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["weather", "clock"]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    one = lambda: client(place).messages.create(**both, tool_choice=choice)  # noqa: E731
    if "several-calls-only" in place.can:
        raises(anthropic.BadRequestError, one)
    else:
        assert len([block for block in one().content if block.type == "tool_use"]) == 1
    named = client(place).messages.create(**both, tool_choice={"type": "tool", "name": "clock"})
    assert [block.name for block in named.content if block.type == "tool_use"] == ["clock"]


@check("messages", "thinking")
def thinks_aloud(place: Place) -> None:
    thinking = ask(place, max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    answer = client(place).messages.create(**thinking)
    strict(answer, Message)
    assert answer.content[0].type == "thinking" and answer.content[0].signature
    events = list(client(place).messages.create(**thinking, stream=True))
    for event in events:
        strict(event, RawMessageStreamEvent)
    deltas = {event.delta.type for event in events if event.type == "content_block_delta"}
    assert deltas == {"thinking_delta", "signature_delta", "text_delta"}


@check("messages", "prompt-cache")
def a_marked_prompt_is_cached(place: Place) -> None:
    for ttl, field in [("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")]:
        control = {"type": "ephemeral", "ttl": ttl}
        system = [{"type": "text", "text": f"the same long prompt, {place.name}, {ttl}. " * 400, "cache_control": control}]
        first = client(place).messages.create(**ask(place, system=system)).usage
        second = client(place).messages.create(**ask(place, system=system)).usage
        assert first.cache_creation_input_tokens >= 1024 and first.cache_read_input_tokens == 0
        assert getattr(first.cache_creation, field) == first.cache_creation_input_tokens
        assert second.cache_read_input_tokens == first.cache_creation_input_tokens
        assert second.cache_creation_input_tokens == 0 and second.input_tokens == first.input_tokens


@check("messages", "count")
def counts_tokens(place: Place) -> None:
    messages = [{"role": "user", "content": "hi"}]
    counted = client(place).messages.count_tokens(model=place.claude, messages=messages)
    assert counted.input_tokens == client(place).messages.create(**ask(place)).usage.input_tokens


@check("messages", "anthropic-models")
def models(place: Place) -> None:
    listed = list(client(place).models.list())
    assert place.claude in [model.id for model in listed]
    assert client(place).models.retrieve(place.claude).id == place.claude


@check("messages", "errors")
def what_is_wrong_has_its_class(place: Place) -> None:
    raises(anthropic.NotFoundError, lambda: client(place).messages.create(**ask(place, model="nobody-1")))
    raises(anthropic.BadRequestError, lambda: client(place).messages.create(**ask(place, messages=[])))


@check("messages", "keys")
def a_wrong_key_is_no_authentication(place: Place) -> None:
    wrong = client(place, api_key="wrong")
    error = raises(anthropic.AuthenticationError, lambda: wrong.messages.create(**ask(place)))
    assert error.body["error"]["type"] == "authentication_error"


@check("messages", "faults")
def each_status_has_its_class(place: Place) -> None:
    for status, kind, named in [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ]:
        place.faults(f"status={status}")
        error = raises(kind, lambda: client(place).messages.create(**ask(place)))
        assert error.body["error"]["type"] == named, error.body
        assert error.request_id


@check("messages", "faults", "direct")
def what_passes_is_tried_again(place: Place) -> None:
    place.faults("status=529,count=1")
    assert client(place, max_retries=2).messages.create(**ask(place)).content
    assert place.struck() == 1
    for cause, kind in [("quota", EnforcedSpendLimitReachedError), ("ramp", RampLimitExceededError)]:
        place.faults(f"status=429,cause={cause},should-retry=false")
        several = client(place, max_retries=2)
        raises(kind, lambda: several.messages.create(**ask(place)))
        assert place.struck() == 1


@check("messages", "stream-faults")
def an_error_in_a_stream_is_raised(place: Place) -> None:
    place.faults("error-event,after=5")
    seen = []

    def read() -> None:
        for event in client(place).messages.create(**ask(place), stream=True):
            seen.append(event.type)

    try:
        read()
    except anthropic.APIStatusError as error:
        assert error.body["error"]["type"] == "overloaded_error", error.body
    else:
        raise AssertionError(f"no error after {seen}")
    assert "content_block_delta" in seen and "message_stop" not in seen


@check("anthropic-bedrock")
def by_bedrock(place: Place) -> None:
    shown = {"api_key": place.key}
    signed = {"aws_access_key": place.key, "aws_secret_key": "sim-secret"}
    by = shown if place.key.startswith("qm_") else signed
    bedrock = anthropic.AnthropicBedrock(base_url=place.url, aws_region="eu-central-1", max_retries=0, **by)
    asked = ask(place, model="anthropic.claude-sonnet-4-5-v1:0")
    answer = bedrock.messages.create(**asked)
    with bedrock.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert answer.content[0].text == final.content[0].text
    assert final.usage.output_tokens == answer.usage.output_tokens
