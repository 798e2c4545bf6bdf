"""What gRPC itself carries on this machine: blocks of bytes to a client that does nothing else.

    python stream_ceiling.py --seconds 3

A grpc.aio server in a process of its own sends FetchResponse messages that hold a payload and
nothing else, over TCP (loopback) and over a Unix socket, to a synchronous client. Prints one line
of JSON: for each transport and size of message MB/s and processor seconds per GB of each side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from stream_measure import processor_seconds

from recollect.v1 import stream_pb2, stream_pb2_grpc

SIZES_KIB = (256, 1024, 4096)
OPTIONS = [("grpc.max_receive_message_length", 16 << 20)]
START_SECONDS = 30.0


class Blocks(stream_pb2_grpc.StreamServiceServicer):
    """Sends the same block until the caller goes; `num_steps` is the size in KiB."""

    async def Fetch(
        self, request: stream_pb2.FetchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[stream_pb2.FetchResponse]:
        block = os.urandom(request.num_steps << 10)
        while True:
            yield stream_pb2.FetchResponse(payload=block)


async def serve(socket: str) -> None:
    """Serves on a Unix socket and on a free port of the loopback, which it prints."""
    server = grpc.aio.server()
    blocks = Blocks()  # type: ignore[abstract]  # Fetch is all that is asked of it
    stream_pb2_grpc.add_StreamServiceServicer_to_server(blocks, server)
    server.add_insecure_port(f"unix:{socket}")
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


def receive(address: str, size_kib: int, seconds: float) -> dict[str, float]:
    """Reads blocks for a while."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(START_SECONDS)
        call: Any = stream_pb2_grpc.StreamServiceStub(channel).Fetch(
            stream_pb2.FetchRequest(num_steps=size_kib), timeout=START_SECONDS + seconds
        )
        next(call)
        own, server = processor_seconds()
        start = now = time.perf_counter()
        received = 0
        while now - start < seconds:
            received += len(next(call).payload)
            now = time.perf_counter()
        own_after, server_after = processor_seconds()
        call.cancel()
    return {
        "MB_per_s": received / (now - start) / 1e6,
        "client_cpu_s_per_GB": (own_after - own) / received * 1e9,
        "server_cpu_s_per_GB": (server_after - server) / received * 1e9,
    }


def raw_grpc(seconds: float) -> dict[str, dict[str, float]]:
    """MB/s by transport and size of message."""
    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "blocks.sock")
        command = [sys.executable, __file__, "--serve", socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                addresses = {"tcp": f"127.0.0.1:{port}", "unix": f"unix:{socket}"}
                return {
                    f"{transport} {size} KiB": receive(address, size, seconds)
                    for size in SIZES_KIB
                    for transport, address in addresses.items()
                }
            finally:
                server.kill()


def main() -> None:
    """Measures, or serves for one that does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    else:
        print(json.dumps(raw_grpc(options.seconds)))


if __name__ == "__main__":
    main()
