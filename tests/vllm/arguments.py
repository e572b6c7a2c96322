#!/usr/bin/env python3
"""Writes down which arguments `vllm serve` takes, release by release, as data for the operator.

    arguments.py SOURCE...           add these releases to the data, or replace them in it
    arguments.py --against FILE SOURCE   compare what is read from one release with the output of `vllm serve --help=all`

A SOURCE is a release of vLLM: a wheel, a source distribution, or a folder that has the package `vllm` in it. Its name must
hold the version. For a new release:

    pip download --no-deps --only-binary :all: --dest /tmp/vllm vllm==0.34.0
    tests/vllm/arguments.py /tmp/vllm/vllm-0.34.0-*.whl

Nothing of vLLM is run: its argument parser is read from its source, because running it takes a release's own torch. What is
kept is facts: names, aliases, kinds of value, allowed values, and the releases that have them. Python 3.11, nothing else.
"""

import pathlib
import re
import sys

from release import REGISTERED, Reader, Release

DATA = pathlib.Path(__file__).parents[2] / "crates/operator-core/src/engine/arguments.txt"

HEADER = """\
# What `vllm serve` takes, by release. Written by tests/vllm/arguments.py; do not edit.
#
#   releases A B ...             the releases that were read, oldest first; below, 2-4 is 0.2 to 0.4, and 2- is 0.2 and later
#   --flag KIND RANGE            an argument and what follows it:
#                                switch (nothing; has a --no- form), plain (nothing), maybe (a value or nothing), list (one
#                                or more values), json (JSON, or --flag.key value), int, float, text, or
#                                fold (one of its values, in any case and with - or _)
#   -f = --flag RANGE            another name of an argument
#   --disable-f ~ --enable-f RANGE   another way to turn a switch off
#   --flag : VALUE ... RANGE     the values that it allows
#   --flag ? VALUE ... RANGE     the values that are built in; a plug-in can add to them
"""


def facts(release):
    """What is known of one release, as a set of lines without their range."""
    reader = Reader(release)
    out = set()
    for name, (kind, full, choices) in reader.read().items():
        if name == full:
            out.add((name, kind))
            out |= {(name, ":", choice) for choice in choices}
            if kind == "switch":
                out |= {(other, "~", name) for other in reader.inverses(name)}
        else:
            out.add((name, "=", full))
    for flag in REGISTERED:
        out |= {(flag, "?", choice) for choice in reader.registered(flag)}
    return out


def load():
    """The data file as {version: facts}."""
    versions, known = [], {}
    if not DATA.exists():
        return known
    for line in DATA.read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "releases":
            versions = [tuple(map(int, word.split("."))) for word in words[1:]]
            known = {version: set() for version in versions}
            continue
        head, ranges = words[:-1], words[-1]
        lines = [(head[0], head[1], one) for one in head[2:]] if head[1] in {":", "?", "=", "~"} else [tuple(head)]
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            for version in versions:
                if int(first) <= version[1] <= int(last or 10**6):
                    known[version].update(lines)
    return known


def spans(present, versions):
    """Releases as ranges of their minor numbers; an open end means: and later."""
    out, i = [], 0
    while i < len(versions):
        if versions[i] not in present:
            i += 1
            continue
        j = i
        while j + 1 < len(versions) and versions[j + 1] in present:
            j += 1
        out.append(f"{versions[i][1]}-" + ("" if j + 1 == len(versions) else str(versions[j][1])))
        i = j + 1
    return ",".join(out)


def render(known):
    versions = sorted(known)
    if any(version[0] != 0 for version in versions):
        sys.exit("ranges are written with minor numbers alone: teach the format about major numbers first")
    ranges = {}
    for version in versions:
        for fact in known[version]:
            ranges.setdefault(fact, set()).add(version)
    lines, grouped = [], {}
    for fact, present in ranges.items():
        span = spans(present, versions)
        if len(fact) == 3 and fact[1] in {":", "?"}:
            grouped.setdefault((fact[0], fact[1], span), []).append(fact[2])
        else:
            lines.append((fact[0].lstrip("-"), fact[1] in {"=", "~", ":", "?"}, " ".join([*fact, span])))
    for (flag, mark, span), values in grouped.items():
        lines.append((flag.lstrip("-"), True, " ".join([flag, mark, *sorted(values), span])))
    body = "\n".join(line for _, _, line in sorted(lines))
    return f"{HEADER}releases {' '.join(f'{a}.{b}' for a, b in versions)}\n{body}\n"


def compare(release, help_file):
    """Exits with 1 when the names, kinds or values differ from those that the release prints itself."""
    reader = Reader(release)
    ours = reader.read()
    theirs = {}
    for line in pathlib.Path(help_file).read_text().splitlines():
        found = re.match(r"  (-{1,2}[A-Za-z].*)", line)
        if not found:
            continue
        for part in re.split(r", (?=-)", re.split(r"\s{2,}", found[1])[0]):
            name, _, rest = part.partition(" ")
            choices = re.fullmatch(r"\{(.*?)\}(?: \[.*)?", rest)
            kind = "none" if not rest else "list" if rest.endswith("...]") else "maybe" if rest.startswith("[") else "value"
            kind = "value" if rest.startswith("['") else kind
            theirs[name] = (kind, sorted(choices[1].split(",")) if choices else [])
    for name in reader.platform & theirs.keys():
        theirs[name] = (theirs[name][0], [])
    mine = {}
    for name, (kind, _, choices) in ours.items():
        kind = {"switch": "none", "plain": "none", "list": "list", "maybe": "maybe"}.get(kind, "value")
        mine[name] = (kind, sorted(choices))
        if ours[name][0] == "switch" and name.startswith("--"):
            for other in [*reader.inverses(name)] or ["--no-" + name[2:]]:
                mine[other] = (kind, [])
    wrong = [f"{name}: read {mine.get(name)}, printed {theirs.get(name)}" for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
    print("\n".join([*wrong, f"{len(theirs)} names printed, {len(mine)} read, {len(wrong)} differ"]))
    sys.exit(1 if wrong else 0)


def main(words):
    if words[:1] == ["--against"] and len(words) == 3:
        compare(Release(words[2]), words[1])
    if not words or words[0].startswith("-"):
        sys.exit(__doc__)
    known = load()
    for word in words:
        release = Release(word)
        known[release.version] = facts(release)
        print(f"{release.path.name}: {sum(1 for f in known[release.version] if len(f) == 2)} arguments", file=sys.stderr)
    DATA.write_text(render(known))


if __name__ == "__main__":
    main(sys.argv[1:])
