"""An independent reader of an engine's KV events: pyzmq and msgpack."""

import struct

import msgpack
import zmq

END = b"\xff" * 8


class Replay:
    """What an engine still has from a sequence on."""

    def __init__(self, endpoint, start=0, timeout_s=10.0):
        self.batches = []  # (topic or None, sequence, time stamp, events, rank)
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.rcvhwm = 0
            socket.rcvtimeo = int(timeout_s * 1000)
            socket.connect(endpoint)
            socket.send_multipart([b"", struct.pack(">Q", start)])
            while True:
                empty, *topic, sequence, payload = socket.recv_multipart()
                assert empty == b"" and len(topic) <= 1
                if sequence == END:
                    assert payload == b""
                    break
                self.batches.append((topic[0] if topic else None, *decode(sequence, payload)))

    def events(self):
        return [event for batch in self.batches for event in batch[3]]


class Live:
    """A subscriber; use as a context manager."""

    def __init__(self, endpoint):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.subscribe(b"")
        self._socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self._socket.close()
        self._context.term()

    def receive(self, timeout_s):
        """(topic, sequence, time stamp, events, rank) of the next batch; None if none comes."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        topic, sequence, payload = self._socket.recv_multipart()
        return (topic, *decode(sequence, payload))


def decode(sequence, payload):
    stamp, events, rank = msgpack.unpackb(payload, strict_map_key=True)
    assert isinstance(stamp, float)
    return struct.unpack(">Q", sequence)[0], stamp, events, rank


STORED = ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium")


def as_map(event):
    """An event of either shape by field names; what follows the medium is left out in arrays."""
    if isinstance(event, dict):
        return event
    tag, *fields = event
    names = STORED if tag == "BlockStored" else ("block_hashes", "medium")
    return {"type": tag, **dict(zip(names, fields))}


class Believer:
    """The blocks that events say are cached, each with the tokens of its prompt up to its end."""

    def __init__(self):
        self.prefixes = {}

    def hear(self, events):
        for event in map(as_map, events):
            if event["type"] == "AllBlocksCleared":
                self.prefixes.clear()
            elif event["type"] == "BlockRemoved":
                for block in event["block_hashes"]:
                    del self.prefixes[block]
            else:
                self._store(event)

    def _store(self, event):
        size = event["block_size"]
        hashes, tokens = event["block_hashes"], event["token_ids"]
        assert len(tokens) == size * len(hashes) and event["medium"] == "GPU"
        parent = event["parent_block_hash"]
        prefix = () if parent is None else self.prefixes[parent]
        for at, block in enumerate(hashes):
            prefix += tuple(tokens[at * size:(at + 1) * size])
            assert self.prefixes.setdefault(block, prefix) == prefix
