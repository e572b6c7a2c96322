"""Starts what is checked, and checks it.

Places: the provider stand-ins alone, which shows that the SDKs' parsers reject nothing of theirs; and the router in front of
the engine's simulator.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from . import anthropic_messages, bedrock, openai_chat, openai_errors, openai_responses  # noqa: F401
from .harness import Place, run

STAND_INS = frozenset(
    """chat repeat several probabilities tools structured reasoning cache completions embeddings models azure responses
    stateful messages thinking prompt-cache count anthropic-models anthropic-bedrock bedrock errors keys faults direct""".split()
)
# The engine's simulator makes up its text, and calls no tool by itself.
ENGINE = frozenset("chat several probabilities completions embeddings models responses messages errors".split())


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


def router(programs: pathlib.Path, models: dict[str, str], stack: contextlib.ExitStack) -> str:
    """Starts the router with a fixed table, and gives its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    routes = [f"{model}={url.removeprefix('http://')}" for model, url in models.items()]
    log = stack.enter_context(open(programs / "sdk-router.log", "w"))  # noqa: SIM115
    command = [str(programs / "examples/bench_router"), f"127.0.0.1:{port}", "1", *routes]
    program = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(end, program)
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return f"http://127.0.0.1:{port}"
        if program.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the router does not answer; its log is {programs / 'sdk-router.log'}")
        time.sleep(0.02)


def places(programs: pathlib.Path, stack: contextlib.ExitStack) -> Iterator[Place]:
    """Everything that is checked."""
    stand_ins = announced([str(programs / "provider-sim"), "--listen", "127.0.0.1:0"], stack)
    yield Place("stand-ins", stand_ins, stand_ins, can=STAND_INS)
    engine = [str(programs / "vllm-sim"), "--host", "127.0.0.1", "--port", "0"]
    chat = announced([*engine, "--served-model-name", "tiny", "--enable-prompt-tokens-details"], stack)
    embed = announced([*engine, "--served-model-name", "tiny-embed", "--runner", "pooling"], stack)
    front = router(programs, {"tiny": chat, "tiny-embed": embed}, stack)
    models = {"chat_model": "tiny", "completion_model": "tiny", "claude": "tiny", "embedding_model": "tiny-embed"}
    yield Place("router before engine", front, None, can=ENGINE, **models)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder with the built programs")
    parser.add_argument("only", nargs="*", help="run only checks whose names hold one of these")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        return run(list(places(options.programs, stack)), options.only)


sys.exit(main())
