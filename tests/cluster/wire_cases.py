"""The table of framing and smuggling cases of tests/net/wire_cases, whose README.md has its form."""

import random
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "net" / "wire_cases"
_NAMES = {
    b"post": b"POST /v1/x HTTP/1.1\r\nHost: a\r\n",
    b"head": b"GET /v1/x HTTP/1.1\r\nHost: a\r\n",
    b"get": b"GET /v1/y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"chunked": b"Transfer-Encoding: chunked\r\n\r\n",
}
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def _unescaped(text):
    return re.sub(rb"\\(x[0-9a-f]{2}|.)",
                  lambda found: (bytes.fromhex(found[1][1:].decode()) if len(found[1]) == 3
                                 else _ESCAPES[found[1]]), text)


def _bytes_of(text):
    sent = b""
    for outside, inside in re.findall(rb"([^<]*)(?:<([^>]*)>)?", text):
        sent += _unescaped(outside)
        if b"*" in inside:
            count, piece = inside.split(b"*", 1)
            sent += int(count) * _unescaped(piece)
        elif inside:
            sent += _NAMES[inside]
    return sent


def wire_cases():
    """{"file: name": bytes}, in the order of the table."""
    cases, name = {}, None
    for path in sorted(FOLDER.glob("*.txt")):
        for line in path.read_bytes().split(b"\n"):
            if line.startswith(b"case "):
                name = f"{path.stem}: {line[5:].split(b'  [')[0].decode()}"
                cases[name] = b""
            elif line.startswith(b"> "):
                cases[name] += _bytes_of(line[2:])
    return cases


_PIECES = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b"0", b"1", b"f", b"\x0b", b"\"", b"_",
           b"%2e", b"/", b"?", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n",
           b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: a\r\n", b"X: y\r\n",
           b"HTTP/1.0", b"0\r\n\r\n", b"3\r\nabc\r\n", _NAMES[b"get"]]


def changed_cases(count, seed):
    """{name: bytes}: cases with one or two changes made by chance, most near a beginning of a line."""
    chance = random.Random(seed)
    cases = [raw for raw in wire_cases().values() if len(raw) < 1000]
    changed = {}
    for number in range(count):
        raw = chance.choice(cases)
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(raw) + 1)
            if chance.random() < 0.5:
                at = raw.find(b"\n", at) + 1 or at
            raw = chance.choice([
                lambda text, at: text[:at] + chance.choice(_PIECES) + text[at:],
                lambda text, at: text[:at] + chance.choice(_PIECES) + text[at:],
                lambda text, at: text[:at] + text[at + chance.randint(1, 4):],
                lambda text, at: text[:at] + bytes([chance.randrange(256)]) + text[at + 1:],
                lambda text, at: text[:at] + chance.choice(cases),
            ])(raw, at)
        changed[f"seed {seed}, number {number}: {raw!r}"] = raw
    return changed
