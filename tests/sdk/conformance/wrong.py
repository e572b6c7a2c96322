"""What goes wrong behind the router, as each SDK tells its user: sync and async, plain, streamed and by the helpers for streams.

Provider and client may speak different APIs; the classes of exceptions are those of the client's SDK all the same.
"""

import asyncio
from collections.abc import Callable

import anthropic
import openai

from .harness import Place, check, raises

# What the router is to make of a fault: the status, and the classes of the two SDKs.
BEFORE_A_TOKEN = [
    ("status=400", 400, openai.BadRequestError, anthropic.BadRequestError),
    ("status=413", 413, openai.APIStatusError, anthropic.RequestTooLargeError),
    ("status=422", 422, openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    ("status=401", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("status=500", 500, openai.InternalServerError, anthropic.InternalServerError),
    ("close=0", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("reset=0", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("garbage=answer", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("garbage=html", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("framing=both", 502, openai.InternalServerError, anthropic.InternalServerError),
    ("redirect=http://127.0.0.1:1/", 502, openai.InternalServerError, anthropic.InternalServerError),
]
# The same within a stream: before its first token, where a plain answer has no such place.
IN_A_STREAM = [
    ("error-event=server", 500, openai.InternalServerError, anthropic.InternalServerError),
    ("truncate,after=1", 502, openai.InternalServerError, anthropic.InternalServerError),
]
# After the first token: an exception in the middle of the loop.
AFTER_A_TOKEN = ["error-event=server,after=6", "truncate,after=6", "close=4000", "reset=4000"]


def chat(place: Place, **options) -> Callable[..., object]:
    made = openai.OpenAI(**({"base_url": f"{place.url}/v1", "api_key": place.key, "max_retries": 0} | options))
    asked = {"model": place.chat_model, "messages": [{"role": "user", "content": "hi"}]}
    return lambda **more: made.chat.completions.create(**(asked | more))


def messages(place: Place, **options) -> Callable[..., object]:
    made = anthropic.Anthropic(**({"base_url": place.url, "api_key": place.key, "max_retries": 0} | options))
    asked = {"model": place.claude, "max_tokens": 256, "messages": [{"role": "user", "content": "hi"}]}
    return lambda **more: made.messages.create(**(asked | more))


def later(place: Place) -> tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]:
    options = {"api_key": place.key, "max_retries": 0}
    return openai.AsyncOpenAI(base_url=f"{place.url}/v1", **options), anthropic.AsyncAnthropic(base_url=place.url, **options)


def refused(kind: type[Exception], status: int, action: Callable[[], object], why: str) -> None:
    error = raises(kind, action)
    assert error.status_code == status, (why, error.status_code)
    assert error.response.headers["x-request-id"], why
    assert error.body and "sim-key" not in str(error.body), why


@check("wrong")
def each_failure_before_a_token_has_its_class(place: Place) -> None:
    for stream in (False, True):
        for fault, status, of_openai, of_anthropic in BEFORE_A_TOKEN + (IN_A_STREAM if stream else []):
            place.faults(fault)
            refused(of_openai, status, lambda: chat(place)(stream=stream), fault)
            refused(of_anthropic, status, lambda: messages(place)(stream=stream), fault)


@check("wrong")
def who_waits_asynchronously_sees_the_same(place: Place) -> None:
    async def asked() -> None:
        of_openai, of_anthropic = later(place)
        hi = [{"role": "user", "content": "hi"}]
        async with of_openai, of_anthropic:
            for fault, status, openai_kind, anthropic_kind in BEFORE_A_TOKEN[-3:] + IN_A_STREAM:
                place.faults(fault)
                for kind, ask in (
                    (openai_kind, of_openai.chat.completions.create(model=place.chat_model, messages=hi, stream=True)),
                    (anthropic_kind, of_anthropic.messages.create(model=place.claude, max_tokens=9, messages=hi, stream=True)),
                ):
                    try:
                        await ask
                    except kind as error:
                        assert error.status_code == status, (fault, error.status_code)
                    else:
                        raise AssertionError(f"no {kind.__name__} for {fault}")

    asyncio.run(asked())


@check("wrong")
def too_much_to_do_is_told_as_that(place: Place) -> None:
    # A provider with Anthropic's API says 529, the others 503.
    for model, ask, kinds in (
        (place.chat_model, chat(place), (openai.InternalServerError,)),
        (place.claude, messages(place), (anthropic.OverloadedError, anthropic.ServiceUnavailableError)),
    ):
        of_anthropic = model.startswith("claude")
        place.faults("status=529" if of_anthropic else "status=503")
        for stream in (False, True):
            try:
                ask(stream=stream)
            except (openai.APIStatusError, anthropic.APIStatusError) as error:
                assert isinstance(error, kinds), (model, type(error).__name__)
                keeps = of_anthropic and isinstance(error, anthropic.APIStatusError)
                assert error.status_code == (529 if keeps else 503), (model, error.status_code)
            else:
                raise AssertionError(f"no error for {model}")


@check("wrong")
def an_error_after_a_token_is_raised_in_the_loop(place: Place) -> None:
    for fault in AFTER_A_TOKEN:
        place.faults(fault)
        seen: list[str] = []

        def read() -> None:
            for chunk in chat(place)(stream=True):
                seen.extend(choice.delta.content or "" for choice in chunk.choices)
                assert all(choice.finish_reason is None for choice in chunk.choices), fault

        try:
            read()
        except openai.APIError:
            pass
        else:
            raise AssertionError(f"no error for {fault}")
        assert "".join(seen), fault

        kinds: list[str] = []

        def read_messages() -> None:
            for event in messages(place)(stream=True):
                kinds.append(event.type)

        try:
            read_messages()
        except anthropic.APIStatusError as error:
            assert error.body["type"] == "error", (fault, error.body)
        else:
            raise AssertionError(f"no error for {fault}")
        assert "content_block_delta" in kinds and "message_stop" not in kinds, (fault, kinds)


@check("wrong")
def the_helpers_for_streams_raise_too(place: Place) -> None:
    hi = [{"role": "user", "content": "hi"}]

    async def helped(fault: str, of_openai: openai.AsyncOpenAI, of_anthropic: anthropic.AsyncAnthropic) -> None:
        try:
            async with of_anthropic.messages.stream(model=place.claude, max_tokens=256, messages=hi) as stream:
                await stream.get_final_message()
        except anthropic.APIStatusError:
            pass
        else:
            raise AssertionError(f"a final message after {fault}")
        try:
            async with of_openai.chat.completions.stream(model=place.chat_model, messages=hi) as stream:
                await stream.get_final_completion()
        except openai.APIError:
            pass
        else:
            raise AssertionError(f"a final completion after {fault}")
        try:
            async with of_openai.responses.stream(model=place.chat_model, input="hi") as stream:
                await stream.get_final_response()
        except (openai.APIError, RuntimeError):
            # The helper has a RuntimeError of its own for a stream that did not complete.
            pass
        else:
            raise AssertionError(f"a final response after {fault}")

    async def all_of_them() -> None:
        of_openai, of_anthropic = later(place)
        async with of_openai, of_anthropic:
            for fault in AFTER_A_TOKEN[:2]:
                place.faults(fault)
                await helped(fault, of_openai, of_anthropic)

    asyncio.run(all_of_them())


@check("wrong")
def what_passes_is_tried_again_as_often_as_it_takes(place: Place) -> None:
    for fault in ("status=500,count=2", "close=0,count=2"):
        for ask in (chat, messages):
            place.faults(fault)
            answer = ask(place, max_retries=2)()
            assert answer.id and place.struck() == 2, fault
    for fault in ("status=400", "status=422"):
        for ask in (chat, messages):
            place.faults(fault)
            try:
                ask(place, max_retries=2)()
            except (openai.APIStatusError, anthropic.APIStatusError):
                assert place.struck() == 1, (fault, place.struck())
            else:
                raise AssertionError(f"no error for {fault}")


@check("wrong")
def who_does_not_wait_is_not_worked_for(place: Place) -> None:
    place.page("DELETE", "/sim/bill")
    place.faults("stall=forever")
    raises(openai.APITimeoutError, lambda: chat(place, timeout=0.5)())
    raises(anthropic.APITimeoutError, lambda: messages(place, timeout=0.5)())
    assert place.bill()["running"] == 0


@check("wrong")
def raw_answers_show_status_and_headers(place: Place) -> None:
    made = openai.OpenAI(base_url=f"{place.url}/v1", api_key=place.key, max_retries=0)
    hi = [{"role": "user", "content": "hi"}]
    raw = made.chat.completions.with_raw_response.create(model=place.chat_model, messages=hi)
    assert raw.status_code == 200 and raw.request_id and raw.parse().choices
    raw = anthropic.Anthropic(base_url=place.url, api_key=place.key, max_retries=0).messages.with_raw_response.create(
        model=place.claude, max_tokens=9, messages=hi
    )
    assert raw.headers["x-request-id"] and raw.parse().content


@check("wrong")
def retry_after_is_seen_and_waited_for(place: Place) -> None:
    # The key rests after this, so nothing else of a provider comes behind it.
    place.faults("status=429,retry-after=2,count=1")
    error = raises(openai.RateLimitError, chat(place))
    assert error.response.headers["retry-after"] == "2", dict(error.response.headers)
    # The router itself says the rest of it, and what comes after that is an answer.
    error = raises(openai.RateLimitError, chat(place))
    assert error.response.headers["retry-after"] in ("1", "2"), dict(error.response.headers)
    assert chat(place, max_retries=3)().choices


@check("wrong")
def money_that_is_spent_is_not_asked_for_again(place: Place) -> None:
    place.faults("status=429,cause=quota")
    error = raises(openai.RateLimitError, chat(place, max_retries=2))
    assert error.code == "insufficient_quota", error.body
    assert error.response.headers["x-should-retry"] == "false"
    asked = place.struck()
    assert asked == 1, asked
    error = None
    try:
        messages(place, max_retries=2)()
    except anthropic.APIStatusError as caught:
        error = caught
    assert error is not None and error.status_code in (402, 429), error
    assert error.response.headers["x-should-retry"] == "false" and place.struck() <= asked + 1
