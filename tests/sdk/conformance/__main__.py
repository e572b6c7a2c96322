"""Starts what is checked, and checks it.

Places: the provider stand-ins alone, which shows that the SDKs' parsers reject nothing of theirs; and the router, with callers
who show a key, in front of the engine's simulator, of the stand-ins in their own API, and of the stand-ins in another one. With
`--engine` and `--pooling`, the place is the router in front of these engines, and nothing else.
"""

import argparse
import contextlib
import hmac
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from . import (  # noqa: F401
    anthropic_messages,
    bedrock,
    openai_chat,
    openai_errors,
    openai_responses,
    real_engine,
    through_router,
    wrong,
)
from .harness import Place, run

STAND_INS = frozenset(
    """chat repeat several probabilities same-api tools structured reasoning cache completions embeddings models azure responses
    stateful messages thinking prompt-cache count anthropic-models anthropic-bedrock bedrock signature errors keys faults stream-faults
    direct""".split()
)
# The engine's simulator makes up its text, and calls no tool by itself.
ENGINE = frozenset("chat same-api several probabilities completions embeddings models responses messages errors keys".split())
# The same API on both sides.
OPENAI = frozenset(
    """chat same-api repeat several probabilities tools structured reasoning cache completions embeddings models responses
    errors keys stream-faults""".split()
)
ANTHROPIC = frozenset("messages same-api repeat tools thinking prompt-cache count errors keys stream-faults".split())
# Another API on each side.
TRANSLATED = frozenset("chat messages repeat tools structured errors keys".split())
# Bedrock behind each of the APIs; Anthropic's models there are asked in Anthropic's own.
INVOKED = frozenset("messages same-api repeat tools thinking prompt-cache errors keys".split())
# Converse cannot be held to one call at a time.
CONVERSED = frozenset("chat messages repeat tools several-calls-only structured errors keys".split())
BEDROCK = frozenset("bedrock anthropic-bedrock callers".split())
# The caller's key, and what is kept of it.
SECRET = "0123456789abcdef" * 4
SALT = "00112233445566778899aabbccddeeff"
KEPT = f"v1:{SALT}:{hmac.new(bytes.fromhex(SALT), SECRET.encode(), 'sha256').hexdigest()}"


def announced(command: list[str], stack: contextlib.ExitStack) -> str:
    """Starts a program that says on its standard error where it serves, and gives the address."""
    environment = os.environ | {"VLLM_SIM_TOKENS_PER_SECOND": "0", "VLLM_SIM_PREFILL_TOKENS_PER_SECOND": "0"}
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    stack.callback(end, program)
    for line in program.stderr:
        if "serving on " in line:
            threading.Thread(target=lambda: [None for _ in program.stderr], daemon=True).start()
            return "http://" + line.split("serving on ")[1].strip()
    raise SystemExit(f"{command[0]} ended: {program.wait()}")


def end(program: subprocess.Popen) -> None:
    program.terminate()
    try:
        program.wait(timeout=10)
    except subprocess.TimeoutExpired:
        program.kill()


def router(programs: pathlib.Path, routes: list[str], stack: contextlib.ExitStack) -> str:
    """Starts the router with a fixed table, and gives its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = programs / f"sdk-router-{port}.log"
    log = stack.enter_context(open(path, "w"))  # noqa: SIM115
    command = [str(programs / "examples/sdk_router"), f"127.0.0.1:{port}", "sim-key", KEPT, *routes]
    program = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(end, program)
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return f"http://127.0.0.1:{port}"
        if program.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the router does not answer; its log is {path}")
        time.sleep(0.02)


def places(programs: pathlib.Path, stack: contextlib.ExitStack) -> Iterator[Place]:
    """Everything that is checked."""
    sim = announced([str(programs / "provider-sim"), "--listen", "127.0.0.1:0"], stack)
    yield Place("stand-ins", sim, sim, can=STAND_INS)
    engine = [str(programs / "vllm-sim"), "--host", "127.0.0.1", "--port", "0"]
    chat = announced([*engine, "--served-model-name", "tiny", "--enable-prompt-tokens-details"], stack)
    embed = announced([*engine, "--served-model-name", "tiny-embed", "--runner", "pooling"], stack)

    def routed(kind: str, url: str, *models: str) -> list[str]:
        return [f"{model}={kind}@{url.removeprefix('http://')}" for model in models]

    openai = ("gpt-4o", "gpt-5-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
    routes = [
        *routed("engine", chat, "tiny"),
        *routed("engine", embed, "tiny-embed"),
        *routed("openai", sim, *openai),
        *routed("anthropic", sim, "claude-haiku-4-5"),
        *routed("bedrock", sim, bedrock.MODEL, "amazon.nova-lite-v1:0"),
    ]
    # A key that a provider has refused for its use rests, so each place has a router of its own.
    front, other_front, failing, failing_bedrock = (router(programs, routes, stack) for _ in range(4))
    key = {"key": f"qm_sdk_{SECRET}"}
    models = {"chat_model": "tiny", "completion_model": "tiny", "claude": "tiny", "embedding_model": "tiny-embed"}
    yield Place("router before engine", front, None, can=ENGINE, **models, **key)
    yield Place("router before OpenAI", front, sim, can=OPENAI, **key)
    yield Place("router before Anthropic", front, sim, can=ANTHROPIC, **key)
    other = {"chat_model": "claude-haiku-4-5", "claude": "gpt-4o"}
    yield Place("router between APIs", other_front, sim, can=TRANSLATED, **other, **key)
    # The same API on both sides, and another one.
    for name, models in (("of its own", {}), ("of another", other)):
        wrong_front = router(programs, routes, stack)
        yield Place(f"router before what is wrong, {name} API", wrong_front, sim, can=frozenset({"wrong"}), **models, **key)
    yield Place("router before failing OpenAI", failing, sim, can=frozenset({"chat", "passed-faults", "only"}), **key)
    yield Place("router before failing Anthropic", failing, sim, can=frozenset({"messages", "passed-faults", "only"}), **key)
    yield Place("router before Bedrock", front, sim, can=BEDROCK, **key)
    yield Place("router before Claude at Bedrock", front, sim, can=INVOKED, claude=bedrock.MODEL, **key)
    conversed = {"chat_model": bedrock.MODEL, "claude": "amazon.nova-lite-v1:0"}
    yield Place("router between APIs and Bedrock", front, sim, can=CONVERSED, **conversed, **key)
    yield Place("router before failing Bedrock", failing_bedrock, sim, can=frozenset({"bedrock", "passed-faults", "only"}), **key)


def real(programs: pathlib.Path, engine: str, pooling: str, stack: contextlib.ExitStack) -> Iterator[Place]:
    """The router before the real vLLM: one engine that makes text, and one that answers with embeddings."""
    # Both engines call their model tiny.
    routes = [f"tiny=engine@{engine.removeprefix('http://')}", f"tiny-embed=engine:tiny@{pooling.removeprefix('http://')}"]
    models = {"chat_model": "tiny", "completion_model": "tiny", "claude": "tiny", "embedding_model": "tiny-embed"}
    front = router(programs, routes, stack)
    yield Place("router before vLLM", front, None, can=frozenset({"real-engine"}), key=f"qm_sdk_{SECRET}", **models)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder with the built programs")
    parser.add_argument("only", nargs="*", help="run only checks whose names hold one of these")
    parser.add_argument("--engine", help="URL of a real vLLM whose model tiny makes text")
    parser.add_argument("--pooling", help="URL of a real vLLM whose model tiny answers with embeddings")
    options = parser.parse_args()
    if bool(options.engine) != bool(options.pooling):
        parser.error("--engine and --pooling belong together")
    with contextlib.ExitStack() as stack:
        if options.engine:
            return run(list(real(options.programs, options.engine, options.pooling, stack)), options.only)
        return run(list(places(options.programs, stack)), options.only)


sys.exit(main())
