"""Which exception of OpenAI's SDK an error becomes, and what the SDK tries again."""

import time

import openai

from .harness import Place, check, raises
from .openai_chat import client, user


def ask(place: Place, **options):
    made = client(place, **options)
    return lambda **more: made.chat.completions.create(**({"model": place.chat_model, "messages": user("hi")} | more))


@check("errors")
def an_unknown_model_is_not_found(place: Place) -> None:
    error = raises(openai.NotFoundError, lambda: ask(place)(model="nobody-1"))
    assert error.code == "model_not_found", error.body


@check("errors")
def a_body_that_is_wrong_is_a_bad_request(place: Place) -> None:
    raises(openai.BadRequestError, lambda: ask(place)(messages=[]))


@check("keys")
def a_wrong_key_is_no_authentication(place: Place) -> None:
    error = raises(openai.AuthenticationError, ask(place, api_key="wrong"))
    assert error.code == "invalid_api_key", error.body


@check("faults")
def each_status_has_its_class(place: Place) -> None:
    for status, kind in [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ]:
        place.faults(f"status={status}")
        error = raises(kind, ask(place))
        assert error.status_code == status and error.request_id


@check("faults", "direct")
def what_passes_is_tried_again(place: Place) -> None:
    place.faults("status=500,count=1")
    assert ask(place, max_retries=2)().choices
    assert place.struck() == 1


@check("faults", "direct")
def retry_after_is_waited_for(place: Place) -> None:
    place.faults("status=429,count=1,retry-after-ms=700")
    began = time.monotonic()
    assert ask(place, max_retries=1)().choices
    assert time.monotonic() - began >= 0.7


@check("faults", "direct")
def a_quota_that_is_used_up_is_not_tried_again(place: Place) -> None:
    place.faults("status=429,cause=quota")
    error = raises(openai.RateLimitError, ask(place, max_retries=2))
    assert error.code == "insufficient_quota" and place.struck() == 1


@check("faults", "direct")
def a_connection_that_breaks_is_an_error_of_its_own(place: Place) -> None:
    place.faults("reset=0")
    raises(openai.APIConnectionError, ask(place))
    place.faults("stall=forever")
    raises(openai.APITimeoutError, ask(place, timeout=0.3))


@check("stream-faults")
def an_error_in_a_stream_is_raised(place: Place) -> None:
    place.faults("error-event=server,after=4")
    seen = []

    def read() -> None:
        for chunk in ask(place)(stream=True):
            seen.append(chunk)

    raises(openai.APIError, read)
    assert seen and all(choice.finish_reason is None for chunk in seen for choice in chunk.choices)


@check("stream-faults")
def who_leaves_is_not_billed_for_the_rest(place: Place) -> None:
    place.page("DELETE", "/sim/bill")
    place.faults("pace=300ms")
    stream = ask(place)(stream=True)
    next(iter(stream))
    stream.close()
    line = place.bill()["lines"][0]
    assert line["cancelled"] == 1 and line["output_tokens"] < 5, line
