"""A TCP relay that is as bad a wire as a test wants: slow, narrow, stalled, broken.

The properties may be changed at any time from any thread and hold from the next piece on, in both
directions. A connection reads no further than one piece ahead, so the sender feels the back
pressure of a narrow wire.
"""

import asyncio
import threading

_PIECE = 4096


class SlowLink:
    """Relays from one address to another on an event loop of its own."""

    def __init__(self, listen, target):
        self.latency_s = 0.0  # each piece, one way
        self.bytes_per_s = 0.0  # of each direction of each connection; 0: as fast as it goes
        self.stalled = False  # connections are taken and kept, nothing passes
        self.bytes_passed = 0
        self._listen = listen
        self._target = target
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._started.wait(5.0):
            raise OSError(f"no relay at {listen}")

    def _run(self):
        asyncio.set_event_loop(self._loop)
        host, port = self._listen.rsplit(":", 1)
        self._loop.run_until_complete(asyncio.start_server(self._accepted, host, int(port)))
        self._started.set()
        self._loop.run_forever()

    async def _accepted(self, reader, writer):
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target.rsplit(":", 1))
        except OSError:
            self._abort(writer)
            return
        self._writers.add(far_writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader, writer):
        """Pieces leave in their order, each `latency_s` after it came."""
        pieces = asyncio.Queue(maxsize=16)
        sender = asyncio.ensure_future(self._send(pieces, writer))
        try:
            while piece := await reader.read(_PIECE):
                await pieces.put((self._loop.time() + self.latency_s, piece))
        except OSError:
            pass
        await pieces.put((0.0, b""))
        await sender

    async def _send(self, pieces, writer):
        broken = False
        while True:
            due, piece = await pieces.get()
            if not piece:
                break
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if self.bytes_per_s > 0.0:
                await asyncio.sleep(len(piece) / self.bytes_per_s)
            while self.stalled:
                await asyncio.sleep(0.02)
            try:
                if not broken:
                    writer.write(piece)
                    await writer.drain()
                    self.bytes_passed += len(piece)
            except OSError:
                broken = True  # goes on taking, so that the reading side finds its end
        self._abort(writer)

    def _abort(self, writer):
        self._writers.discard(writer)
        writer.transport.abort()

    def reset(self):
        """Every connection ends with a reset."""
        self._loop.call_soon_threadsafe(
            lambda: [self._abort(writer) for writer in list(self._writers)])

    def play(self, script):
        """[(seconds, {property: value}), ...]: each set of properties holds for its seconds; the
        name `reset` resets what there is. Returns when the script is over."""
        for seconds, properties in script:
            for name, value in properties.items():
                if name == "reset":
                    self.reset()
                else:
                    setattr(self, name, value)
            threading.Event().wait(seconds)

    def close(self):
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
