"""Bedrock by boto3, whose parser checks every frame of a stream."""

import json

import boto3
import botocore
import botocore.config
import botocore.exceptions

from .harness import REPEAT, Place, check

MODEL = "anthropic.claude-sonnet-4-5-v1:0"
WEATHER = {
    "toolSpec": {
        "name": "weather",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    }
}


def client(place: Place, key: str | None = None, secret: str = "sim-secret", attempts: int = 1):
    """Signs, or shows the key of a caller of the router. boto3 sends API keys by https only, so here the header is set for it."""
    if place.key.startswith("qm_"):
        retries = {"total_max_attempts": attempts, "mode": "standard"}
        config = botocore.config.Config(signature_version=botocore.UNSIGNED, retries=retries)
        made = boto3.client("bedrock-runtime", endpoint_url=place.url, region_name="eu-central-1", config=config)

        def show(request, **_: object) -> None:
            request.headers["Authorization"] = f"Bearer {key or place.key}"

        made.meta.events.register("before-send.bedrock-runtime", show)
        return made
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=place.url,
        region_name="eu-central-1",
        aws_access_key_id=key or place.key,
        aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


def messages(text: str = "hi") -> list[dict]:
    return [{"role": "user", "content": [{"text": text}]}]


def refused(action, code: str, status: int) -> None:
    try:
        action()
    except botocore.exceptions.ClientError as error:
        found = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found == (code, status), found
    else:
        raise AssertionError(f"no {code}")


@check("bedrock")
def converse(place: Place) -> None:
    answer = client(place).converse(modelId=MODEL, messages=messages(), system=[{"text": "Be brief."}])
    assert answer["output"]["message"]["content"][0]["text"] and answer["stopReason"] == "end_turn"
    usage = answer["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


@check("bedrock")
def converse_streamed(place: Place) -> None:
    text = "Gr\u00fc\u00dfe \U0001f600"
    ask = {"modelId": MODEL, "messages": messages(REPEAT + text)}
    events = list(client(place).converse_stream(**ask)["stream"])
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"], kinds
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta["text"] for delta in deltas) == text
    assert events[-1]["metadata"]["usage"] == client(place).converse(**ask)["usage"]


@check("bedrock")
def calls_a_tool(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages(), "toolConfig": {"tools": [WEATHER]}}
    answer = client(place).converse(**ask)
    call = answer["output"]["message"]["content"][0]["toolUse"]
    assert answer["stopReason"] == "tool_use" and call["name"] == "weather" and "city" in call["input"]
    events = list(client(place).converse_stream(**ask)["stream"])
    start = next(event["contentBlockStart"] for event in events if "contentBlockStart" in event)
    assert start["start"]["toolUse"]["toolUseId"] == call["toolUseId"]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert json.loads("".join(delta["toolUse"]["input"] for delta in deltas)) == call["input"]


@check("bedrock")
def thinks_aloud(place: Place) -> None:
    more = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    ask = {"modelId": MODEL, "messages": messages(), "additionalModelRequestFields": more}
    block = client(place).converse(**ask)["output"]["message"]["content"][0]
    assert block["reasoningContent"]["reasoningText"]["signature"]
    events = list(client(place).converse_stream(**ask)["stream"])
    assert any("reasoningContent" in event.get("contentBlockDelta", {}).get("delta", {}) for event in events)


@check("bedrock")
def a_marked_prompt_is_cached(place: Place) -> None:
    system = [{"text": f"the same long prompt, {place.name}. " * 400}, {"cachePoint": {"type": "default"}}]
    ask = {"modelId": MODEL, "messages": messages(), "system": system}
    first, second = (client(place).converse(**ask)["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] >= 1024 and second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]


@check("bedrock")
def invoke(place: Place) -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    ask = {"modelId": MODEL, "body": json.dumps(body)}
    answer = json.loads(client(place).invoke_model(**ask)["body"].read())
    assert answer["content"][0]["text"] and answer["usage"]["output_tokens"] > 0
    stream = client(place).invoke_model_with_response_stream(**ask)["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert events[0]["type"] == "message_start"
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == answer["usage"]["output_tokens"]


@check("bedrock")
def the_tier_is_told(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages(), "serviceTier": {"type": "flex"}}
    assert client(place).converse(**ask)["serviceTier"]["type"] == "flex"
    last = list(client(place).converse_stream(**ask)["stream"])[-1]
    assert last["metadata"]["serviceTier"]["type"] == "flex", last
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    invoked = {"modelId": MODEL, "body": json.dumps(body), "serviceTier": "priority"}
    assert client(place).invoke_model(**invoked)["serviceTier"] == "priority"
    fast = ask | {"serviceTier": {"type": "default"}, "performanceConfig": {"latency": "optimized"}}
    assert client(place).converse(**fast)["performanceConfig"]["latency"] == "optimized"


@check("bedrock", "signature")
def the_arn_of_a_profile_is_one_step_of_the_path(place: Place) -> None:
    profile = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2"
    assert client(place).converse(modelId=profile, messages=messages())["stopReason"] == "end_turn"


@check("bedrock", "signature")
def what_claude_does_not_take_is_refused(place: Place) -> None:
    both = {"temperature": 0.5, "topP": 0.5}
    refused(lambda: client(place).converse(modelId=MODEL, messages=messages(), inferenceConfig=both), "ValidationException", 400)
    document = {"document": {"name": "a", "format": "pdf", "source": {"bytes": b"a"}}}
    for content in ([document], [document, document, {"text": "Read."}], [{"text": " "}]):
        ask = {"modelId": MODEL, "messages": [{"role": "user", "content": content}]}
        refused(lambda ask=ask: client(place).converse(**ask), "ValidationException", 400)


@check("bedrock", "signature")
def a_wrong_signature_is_refused(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages()}
    refused(lambda: client(place, secret="another").converse(**ask), "InvalidSignatureException", 403)
    refused(lambda: client(place, key="another").converse(**ask), "UnrecognizedClientException", 403)


@check("bedrock", "faults")
def errors_have_their_classes(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages()}
    for status, code in [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ]:
        place.faults(f"status={status}")
        refused(lambda: client(place).converse(**ask), code, status)
    place.faults("status=429,cause=not-ready")
    refused(lambda: client(place).converse(**ask), "ModelNotReadyException", 429)
    place.faults("status=503,count=1")
    assert client(place, attempts=3).converse(**ask)["stopReason"] == "end_turn"
    refused(lambda: client(place).converse(**(ask | {"modelId": "nobody"})), "ValidationException", 400)


@check("bedrock", "callers")
def a_wrong_key_is_refused(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages()}
    wrong = place.key[:-1] + ("0" if place.key[-1] != "0" else "1")
    refused(lambda: client(place, key=wrong).converse(**ask), "UnrecognizedClientException", 401)
    unknown = ask | {"modelId": "nobody"}
    refused(lambda: client(place).converse(**unknown), "ResourceNotFoundException", 404)


@check("bedrock", "passed-faults")
def errors_pass_the_router(place: Place) -> None:
    ask = {"modelId": MODEL, "messages": messages()}
    for fault, code, status in [
        ("status=400", "ValidationException", 400),
        # The router's own credentials are nothing that a client could set right.
        ("status=403", "InternalServerException", 502),
        ("status=424", "ModelErrorException", 424),
        ("status=429,cause=not-ready", "ModelNotReadyException", 429),
        ("status=500", "InternalServerException", 500),
        ("status=503", "ServiceUnavailableException", 503),
        # From here on the key rests.
        ("status=429", "ThrottlingException", 429),
        ("", "ThrottlingException", 429),
    ]:
        place.faults(fault)
        refused(lambda: client(place).converse(**ask), code, status)


@check("bedrock", "callers")
def a_stream_that_breaks_off_is_an_error(place: Place) -> None:
    for fault, code in [
        ("error-event=unavailable,after=3", "serviceUnavailableException"),
        ("truncate,after=3", "internalServerException"),
        ("reset=600", "internalServerException"),
    ]:
        place.faults(fault)
        stream = client(place).converse_stream(modelId=MODEL, messages=messages())["stream"]
        try:
            list(stream)
        except botocore.exceptions.EventStreamError as error:
            assert error.response["Error"]["Code"] == code, (fault, error.response)
        else:
            raise AssertionError(f"no error for {fault}")


@check("bedrock", "faults")
def an_error_in_a_stream_is_raised(place: Place) -> None:
    place.faults("error-event=pace,after=3")
    stream = client(place).converse_stream(modelId=MODEL, messages=messages())["stream"]
    try:
        list(stream)
    except botocore.exceptions.EventStreamError as error:
        assert error.response["Error"]["Code"] == "throttlingException", error.response
    else:
        raise AssertionError("no error")
