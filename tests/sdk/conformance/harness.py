"""What the checks share: how they are named and counted, and what they may ask of where they run."""

from __future__ import annotations

import json
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

import pydantic

CHECKS: list[tuple[str, frozenset[str], Callable[[Place], None]]] = []

# What a prompt has to begin with to be repeated by a stand-in.
REPEAT = "Repeat: "


@dataclass
class Place:
    """Where checks run: an address that speaks the APIs, and what stands behind it."""

    name: str
    url: str
    # Address of the stand-ins' own pages.
    sim: str | None
    key: str = "sim-key"
    # The key that the provider is asked with.
    provider_key: str = "sim-key"
    chat_model: str = "gpt-4o"
    reasoning_model: str = "gpt-5-mini"
    embedding_model: str = "text-embedding-3-small"
    completion_model: str = "gpt-3.5-turbo-instruct"
    claude: str = "claude-haiku-4-5"
    # What can be checked here.
    can: frozenset[str] = field(default_factory=frozenset)

    def page(self, method: str, path: str, body: str = "") -> dict:
        """Asks a page of the stand-ins."""
        request = urllib.request.Request(f"{self.sim}{path}", body.encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def faults(self, *faults: str) -> None:
        """Sets what goes wrong."""
        self.page("POST", "/sim/faults", "\n".join(faults))

    def struck(self) -> int:
        """How many requests the faults hit."""
        return sum(fault["struck"] for fault in self.page("GET", "/sim/faults")["faults"])

    def bill(self) -> dict:
        """What was sold, once nothing runs any more."""

        def ended() -> dict | None:
            bill = self.page("GET", "/sim/bill")
            return bill if bill["running"] == 0 else None

        return until(ended, "requests still run")


def check(*needs: str) -> Callable:
    """Makes a function a check that needs these capabilities."""

    def register(function: Callable[[Place], None]) -> Callable[[Place], None]:
        module = function.__module__.rsplit(".", 1)[-1]
        CHECKS.append((f"{module}.{function.__name__}", frozenset(needs), function))
        return function

    return register


def until(found: Callable[[], object], why: str, seconds: float = 10) -> object:
    """What `found` gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while True:
        if (result := found()) is not None:
            return result
        assert time.monotonic() < deadline, why
        time.sleep(0.01)


def strict(model: object, kind: type | None = None) -> None:
    """Fails if what an SDK made of an answer does not fit its own types. SDKs build their objects without a check."""
    adapter = pydantic.TypeAdapter(kind or type(model))
    adapter.validate_python(model.to_dict(mode="json") if hasattr(model, "to_dict") else model)


def raises(kind: type[Exception], action: Callable[[], object]) -> Exception:
    """The exception that `action` ends with, which has to be of just this kind."""
    try:
        result = action()
    except Exception as error:  # noqa: BLE001
        assert type(error) is kind, f"{type(error).__name__} in place of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}, but {result!r}")


def run(places: list[Place], only: list[str]) -> int:
    """Runs every check at every place that can have it. The last line is read by `cargo xtask test`."""
    passed, failed = 0, []
    for place in places:
        for name, needs, function in CHECKS:
            title = f"{place.name}: {name}"
            if not needs <= place.can or ("only" in place.can and "passed-faults" not in needs) or (only and not any(word in title for word in only)):
                continue
            began = time.monotonic()
            try:
                if place.sim:
                    place.faults()
                function(place)
            except Exception as error:  # noqa: BLE001
                failed.append(title)
                print(f"test {title} ... FAILED: {type(error).__name__}: {error}", flush=True)
                print(traceback.format_exc(limit=-3), flush=True)
                continue
            passed += 1
            print(f"test {title} ... ok ({time.monotonic() - began:.2f} s)", flush=True)
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {passed} passed; {len(failed)} failed; 0 ignored")
    return 1 if failed else 0
