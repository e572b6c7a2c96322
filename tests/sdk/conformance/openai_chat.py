"""Chat Completions, Completions and Embeddings by OpenAI's SDK."""

import asyncio

import openai
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from .harness import REPEAT, Place, check, raises, strict

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}


def client(place: Place, **options) -> openai.OpenAI:
    return openai.OpenAI(**({"base_url": f"{place.url}/v1", "api_key": place.key, "max_retries": 0} | options))


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@check("chat")
def plain(place: Place) -> None:
    answer = client(place).chat.completions.create(model=place.chat_model, messages=user("hi"))
    strict(answer)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer.model == place.chat_model, answer.model


@check("chat")
def streamed(place: Place) -> None:
    with client(place).chat.completions.create(
        model=place.chat_model, messages=user("hi"), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    for chunk in chunks:
        strict(chunk, ChatCompletionChunk)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c for chunk in chunks for c in chunk.choices][-1].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert len(chunks) > 4 and text


@check("chat")
def usage_only_when_asked(place: Place) -> None:
    chunks = list(client(place).chat.completions.create(model=place.chat_model, messages=user("hi"), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@check("chat")
def streamed_is_plain(place: Place) -> None:
    ask = {"model": place.chat_model, "messages": user("the same"), "temperature": 0, "max_tokens": 12}
    answer = client(place).chat.completions.create(**ask).choices[0]
    chunks = list(client(place).chat.completions.create(**ask, stream=True))
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == answer.message.content
    assert chunks[-1].choices[0].finish_reason == answer.finish_reason


@check("chat")
def asynchronous(place: Place) -> None:
    async def ask() -> list[str]:
        options = {"base_url": f"{place.url}/v1", "api_key": place.key, "max_retries": 0}
        async with openai.AsyncOpenAI(**options) as several:
            asks = [several.chat.completions.create(model=place.chat_model, messages=user(str(n))) for n in range(8)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asks)]

    assert all(asyncio.run(ask()))


@check("chat")
def cut_at_the_limit(place: Place) -> None:
    answer = client(place).chat.completions.create(model=place.chat_model, messages=user("hi"), max_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


@check("repeat")
def repeated_in_any_script(place: Place) -> None:
    text = "Gr\u00fc\u00dfe \u4f60\u597d \U0001f600 \u0434\u0430 \"\\\n\t end"
    ask = {"model": place.chat_model, "messages": user(REPEAT + text)}
    answer = client(place).chat.completions.create(**ask)
    chunks = client(place).chat.completions.create(**ask, stream=True)
    assert answer.choices[0].message.content == text
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == text


@check("repeat")
def ends_at_a_stop_word(place: Place) -> None:
    ask = {"model": place.chat_model, "messages": user(REPEAT + "one STOP two"), "stop": ["STOP"]}
    choice = client(place).chat.completions.create(**ask).choices[0]
    assert choice.message.content == "one " and choice.finish_reason == "stop"


@check("several")
def several_answers(place: Place) -> None:
    ask = {"model": place.chat_model, "messages": user("hi"), "n": 3}
    answer = client(place).chat.completions.create(**ask)
    strict(answer)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    chunks = list(client(place).chat.completions.create(**ask, stream=True))
    assert {c.index for chunk in chunks for c in chunk.choices} == {0, 1, 2}


@check("probabilities")
def probabilities(place: Place) -> None:
    ask = {"model": place.chat_model, "messages": user("hi"), "logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    answer = client(place).chat.completions.create(**ask)
    strict(answer)
    told = answer.choices[0].logprobs.content
    assert len(told) == 4 and all(len(token.top_logprobs) == 2 for token in told)
    assert "".join(token.token for token in told) == answer.choices[0].message.content


@check("tools")
def calls_a_tool_and_hears_it(place: Place) -> None:
    messages = user("what is the weather?")
    ask = {"model": place.chat_model, "tools": [WEATHER]}
    first = client(place).chat.completions.create(messages=messages, **ask)
    strict(first)
    assert first.choices[0].finish_reason == "tool_calls"
    call = first.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and "city" in call.function.arguments
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    second = client(place).chat.completions.create(messages=messages, **ask)
    assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content


@check("tools")
def calls_several_tools(place: Place) -> None:
    ask = {"model": place.chat_model, "messages": user("both in parallel, please"), "tools": [WEATHER, CLOCK]}
    answer = client(place).chat.completions.create(**ask)
    with client(place).chat.completions.stream(**ask) as stream:
        for event in stream:
            if event.type == "chunk":
                strict(event.chunk, ChatCompletionChunk)
        final = stream.get_final_completion()
    calls = [(c.id, c.function.name, c.function.arguments) for c in answer.choices[0].message.tool_calls]
    assert [name for _, name, _ in calls] == ["weather", "clock"]
    assert [(c.id, c.function.name, c.function.arguments) for c in final.choices[0].message.tool_calls] == calls
    one = lambda: client(place).chat.completions.create(**ask, parallel_tool_calls=False)  # noqa: E731
    if "several-calls-only" in place.can:
        raises(openai.BadRequestError, one)
    else:
        assert len(one().choices[0].message.tool_calls) == 1


@check("tools")
def calls_what_it_has_to(place: Place) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    ask = {"model": place.chat_model, "messages": user("hi"), "tools": [WEATHER, CLOCK]}
    forced = client(place).chat.completions.create(**ask, tool_choice=named)
    assert forced.choices[0].message.tool_calls[0].function.name == "clock"
    none = client(place).chat.completions.create(**ask, tool_choice="none")
    assert not none.choices[0].message.tool_calls and none.choices[0].message.content


class Event(BaseModel):
    name: str
    day: int
    guests: list[str]


@check("structured")
def structured(place: Place) -> None:
    answer = client(place).chat.completions.parse(
        model=place.chat_model, messages=user("an event"), response_format=Event
    )
    assert isinstance(answer.choices[0].message.parsed, Event)
    with client(place).chat.completions.stream(
        model=place.chat_model, messages=user("an event"), response_format=Event
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


@check("reasoning")
def reasoning_is_counted(place: Place) -> None:
    answer = client(place).chat.completions.create(
        model=place.reasoning_model, messages=user("hi"), reasoning_effort="low", max_completion_tokens=500
    )
    strict(answer)
    details = answer.usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < answer.usage.completion_tokens


@check("cache")
def a_long_prompt_is_cached(place: Place) -> None:
    messages = [{"role": "system", "content": "the same long prompt " * 400}, *user("hi")]
    ask = {"model": place.chat_model, "messages": messages}
    client(place).chat.completions.create(**ask)
    answer = client(place).chat.completions.create(**ask)
    assert answer.usage.prompt_tokens_details.cached_tokens >= 1024


@check("chat", "same-api")
def unknown_fields_do_no_harm(place: Place) -> None:
    answer = client(place).chat.completions.create(
        model=place.chat_model, messages=user("hi"), user="me", seed=1, extra_body={"a_new_field": {"deep": [1]}}
    )
    assert answer.choices[0].message.content


@check("completions")
def old_completions(place: Place) -> None:
    ask = {"model": place.completion_model, "prompt": "Once", "max_tokens": 6}
    answer = client(place).completions.create(**ask)
    strict(answer)
    assert answer.choices[0].text and answer.usage.completion_tokens == 6
    chunks = list(client(place).completions.create(**ask, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text


@check("embeddings")
def embeddings(place: Place) -> None:
    ask = {"model": place.embedding_model, "input": ["one", "two"]}
    floats = client(place).embeddings.create(**ask, encoding_format="float")
    strict(floats)
    # The SDK asks for base64 by itself, and decodes it.
    decoded = client(place).embeddings.create(**ask)
    assert len(floats.data) == 2 and floats.usage.prompt_tokens > 0
    for one, other in zip(floats.data, decoded.data):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))


@check("models")
def models(place: Place) -> None:
    listed = list(client(place).models.list())
    for model in listed:
        strict(model)
    assert place.chat_model in [model.id for model in listed]
    assert client(place).models.retrieve(place.chat_model).id == place.chat_model


@check("azure")
def azure(place: Place) -> None:
    azure = openai.AzureOpenAI(
        azure_endpoint=place.url, api_key=place.key, api_version="2024-10-21", max_retries=0
    )
    answer = azure.chat.completions.create(model="my-deployment", messages=user("hi"))
    strict(answer)
    assert answer.choices[0].message.content
