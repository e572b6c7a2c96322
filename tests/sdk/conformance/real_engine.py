"""The real vLLM with a tiny random model, behind the router. What it says is noise, so shapes, counts and classes are checked."""

import asyncio
import json
from typing import Literal

import anthropic
import openai
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from . import anthropic_messages
from .harness import Place, check, raises, strict
from .openai_chat import CLOCK, WEATHER, client, user

# Between the parts of JSON the engine lets its model write any white space, and this one loves it: heat makes it move on.
HOT = {"temperature": 2, "seed": 7, "max_tokens": 600}


def ask(place: Place, **more) -> dict:
    return {"model": place.chat_model, "messages": user("Hello, who are you?"), "max_tokens": 12, "temperature": 0} | more


@check("real-engine")
def chat_plain_streamed_and_counted(place: Place) -> None:
    answer = client(place).chat.completions.create(**ask(place))
    strict(answer)
    choice = answer.choices[0]
    assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "length", place.chat_model)
    assert answer.usage.completion_tokens == 12 and answer.usage.prompt_tokens > 5
    chunks = list(client(place).chat.completions.create(**ask(place), stream=True, stream_options={"include_usage": True}))
    for chunk in chunks:
        strict(chunk, ChatCompletionChunk)
    said = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert said == choice.message.content
    assert [c for chunk in chunks for c in chunk.choices][-1].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 12
    uncounted = list(client(place).chat.completions.create(**ask(place), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in uncounted)


@check("real-engine")
def several_at_once_and_several_answers(place: Place) -> None:
    async def all_of_them() -> list:
        options = {"base_url": f"{place.url}/v1", "api_key": place.key, "max_retries": 0}
        async with openai.AsyncOpenAI(**options) as several:
            return await asyncio.gather(*(several.chat.completions.create(**ask(place, seed=n)) for n in range(8)))

    assert all(answer.choices[0].message.content for answer in asyncio.run(all_of_them()))
    answer = client(place).chat.completions.create(**ask(place, n=3, temperature=0.8, logprobs=True, top_logprobs=2))
    strict(answer)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(len(choice.logprobs.content) == 12 for choice in answer.choices)


class Plan(BaseModel):
    day: Literal["monday", "friday"]
    sure: bool


@check("real-engine")
def structured_output(place: Place) -> None:
    schema = {
        "type": "object",
        "properties": {"day": {"enum": ["monday", "friday"]}, "sure": {"type": "boolean"}},
        "required": ["day", "sure"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "event", "schema": schema, "strict": True}}
    answer = client(place).chat.completions.create(**ask(place, response_format=form, **HOT))
    strict(answer)
    said = json.loads(answer.choices[0].message.content)
    assert set(said) == {"day", "sure"} and said["day"] in ("monday", "friday"), said
    parsed = client(place).chat.completions.parse(**ask(place, response_format=Plan, **HOT))
    assert isinstance(parsed.choices[0].message.parsed, Plan)


@check("real-engine")
def calls_the_tool_that_is_named(place: Place) -> None:
    clock = CLOCK | {"function": CLOCK["function"] | {"strict": True, "parameters": {
        "type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"], "additionalProperties": False,
    }}}
    named = {"type": "function", "function": {"name": "clock"}}
    tools = ask(place, tools=[WEATHER, clock], tool_choice=named, **HOT)
    answer = client(place).chat.completions.create(**tools)
    strict(answer)
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "clock" and json.loads(call.function.arguments)["zone"] in ("utc", "cet")
    with client(place).chat.completions.stream(**tools) as stream:
        for event in stream:
            if event.type == "chunk":
                strict(event.chunk, ChatCompletionChunk)
        final = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert final.function.name == "clock" and json.loads(final.function.arguments)["zone"] in ("utc", "cet")
    required = client(place).chat.completions.create(**(tools | {"tools": [clock], "tool_choice": "required"}))
    assert required.choices[0].message.tool_calls[0].function.name == "clock"
    messages = user("what time is it?") + [
        {"role": "assistant", "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "noon"},
    ]
    heard = client(place).chat.completions.create(**ask(place, messages=messages, tools=[clock], tool_choice="none"))
    assert heard.choices[0].message.content and not heard.choices[0].message.tool_calls


@check("real-engine")
def completions_and_embeddings(place: Place) -> None:
    prompt = {"model": place.completion_model, "prompt": "Once", "max_tokens": 6, "temperature": 0}
    answer = client(place).completions.create(**prompt)
    strict(answer)
    chunks = list(client(place).completions.create(**prompt, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text
    embed = {"model": place.embedding_model, "input": ["one", "two"]}
    floats = client(place).embeddings.create(**embed, encoding_format="float")
    strict(floats)
    decoded = client(place).embeddings.create(**embed)
    for one, other in zip(floats.data, decoded.data, strict=True):
        assert len(one.embedding) == 128
        assert all(abs(a - b) < 1e-5 for a, b in zip(one.embedding, other.embedding, strict=True))
    listed = {model.id for model in client(place).models.list()}
    assert {place.chat_model, place.embedding_model} <= listed


@check("real-engine")
def responses_plain_and_streamed(place: Place) -> None:
    body = {"model": place.chat_model, "input": "Hello", "max_output_tokens": 12, "temperature": 0}
    answer = client(place).responses.create(**body)
    assert answer.status in ("incomplete", "completed") and answer.output_text
    assert answer.usage.output_tokens == 12
    events = list(client(place).responses.create(**body, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete"), kinds
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == answer.output_text
    strict(answer, Response)
    for event in events:
        strict(event, ResponseStreamEvent)


@check("real-engine")
def goes_on_after_thoughts_that_another_target_sealed(place: Place) -> None:
    """A conversation that OpenAI or Anthropic began falls back to the pool, whose engine refuses every seal."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}
    answered = {"type": "message", "role": "assistant", "content": "Hi."}
    talk = user("Hello") + [thought, thought | {"summary": []}, answered] + user("And now?")
    answer = client(place).responses.create(model=place.chat_model, input=talk, max_output_tokens=12)
    assert answer.output_text


@check("real-engine")
def messages_plain_streamed_and_counted(place: Place) -> None:
    body = {"model": place.claude, "max_tokens": 12, "extra_body": {"temperature": 0}, "system": "Be kind.", "messages": user("Hello")}
    made = anthropic_messages.client(place)
    answer = made.messages.create(**body)
    strict(answer, Message)
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 12 and answer.content[0].text
    events = list(made.messages.create(**body, stream=True))
    for event in events:
        strict(event, RawMessageStreamEvent)
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    with made.messages.stream(**body) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == answer.content[0].text and final.stop_reason == "max_tokens"
    counted = made.messages.count_tokens(model=place.claude, messages=body["messages"], system=body["system"])
    assert counted.input_tokens == answer.usage.input_tokens


@check("real-engine")
def a_reader_that_leaves_stops_the_engine(place: Place) -> None:
    with client(place).chat.completions.create(**ask(place, max_tokens=1500, stream=True)) as stream:
        next(iter(stream))
    # The engine has room for four; had it gone on with those that were left, these would wait behind them.
    for _ in range(8):
        with client(place).chat.completions.create(**ask(place, max_tokens=1500, stream=True)) as stream:
            next(iter(stream))
    assert client(place, timeout=60).chat.completions.create(**ask(place)).choices


@check("real-engine")
def mistakes_have_their_classes(place: Place) -> None:
    made = client(place)
    unknown = raises(openai.NotFoundError, lambda: made.chat.completions.create(**ask(place, model="nobody-1")))
    assert unknown.code == "model_not_found"
    for wrong in ({"temperature": -1}, {"max_tokens": 100000}, {"messages": []}):
        error = raises(openai.BadRequestError, lambda wrong=wrong: made.chat.completions.create(**ask(place, **wrong)))
        assert error.body["message"], wrong
    raises(openai.BadRequestError, lambda: made.chat.completions.create(**ask(place, stream=True, temperature=-1)))
    raises(openai.AuthenticationError, lambda: client(place, api_key="wrong").chat.completions.create(**ask(place)))
    claude = anthropic_messages.client(place)
    raises(anthropic.NotFoundError, lambda: claude.messages.create(**anthropic_messages.ask(place, model="nobody-1")))
    raises(anthropic.BadRequestError, lambda: claude.messages.create(**anthropic_messages.ask(place, messages=[])))
    wrong = anthropic_messages.client(place, api_key="wrong")
    raises(anthropic.AuthenticationError, lambda: wrong.messages.create(**anthropic_messages.ask(place)))
