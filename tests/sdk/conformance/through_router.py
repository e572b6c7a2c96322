"""What the router makes of a provider's failures, as clients of each API see it."""

import anthropic
import openai

from . import anthropic_messages, openai_chat
from .harness import Place, check, raises, until


def chat(place: Place, **options):
    made = openai_chat.client(place, **options)
    return lambda: made.chat.completions.create(model=place.chat_model, messages=openai_chat.user("hi"))


@check("passed-faults", "chat")
def failures_of_openai_have_their_classes(place: Place) -> None:
    for fault, status, kind in [
        ("status=400", 400, openai.BadRequestError),
        ("status=500", 500, openai.InternalServerError),
        ("status=503", 503, openai.InternalServerError),
        # The router's own key is nothing that a client could set right.
        ("status=401", 502, openai.InternalServerError),
        ("status=403", 502, openai.InternalServerError),
        ("redirect=http://127.0.0.1:1/", 502, openai.InternalServerError),
        ("garbage=html", 502, openai.InternalServerError),
        ("reset=0", 502, openai.InternalServerError),
        # From here on the key rests.
        ("status=429", 429, openai.RateLimitError),
    ]:
        place.faults(fault)
        error = raises(kind, chat(place))
        assert error.status_code == status, (fault, error.status_code)
        assert place.provider_key not in str(error.body), fault


@check("passed-faults", "chat")
def a_quota_keeps_its_code(place: Place) -> None:
    place.faults("status=429,cause=quota")


    def quota() -> Exception | None:
        error = raises(openai.RateLimitError, chat(place))
        return error if error.code == "insufficient_quota" else None

    # The key may still rest because it was used too often.
    error = until(quota, "the code of the quota does not come")
    assert error.response.headers.get("x-should-retry") == "false"


@check("passed-faults", "messages")
def failures_of_anthropic_have_their_classes(place: Place) -> None:
    for fault, kinds in [
        ("status=400", (anthropic.BadRequestError,)),
        ("status=401", (anthropic.InternalServerError,)),
        ("status=529", (anthropic.OverloadedError,)),
        ("status=429", (anthropic.RateLimitError, anthropic.OverloadedError)),
    ]:
        place.faults(fault)
        try:
            anthropic_messages.client(place).messages.create(**anthropic_messages.ask(place))
        except anthropic.APIStatusError as error:
            assert isinstance(error, kinds), (fault, type(error).__name__, error.status_code)
            assert error.body["type"] == "error", error.body
        else:
            raise AssertionError(f"no error for {fault}")
