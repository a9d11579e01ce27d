"""A WebSocket server that echoes (serve), and a client that calls it over TLS (call PORT ROOT)."""

import asyncio
import ssl
import sys

import websockets


async def echo(socket, *_path):
    async for message in socket:
        if message == "end":
            await socket.close(4321, "as asked")
            return
        else:
            await socket.send(message)


async def serve():
    options = {"max_size": 2**24, "subprotocols": ["chat"]}
    async with websockets.serve(echo, "127.0.0.1", 0, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def call(port, root):
    context = ssl.create_default_context(cafile=root)
    url = f"wss://localhost:{port}/echo"
    options = {"ssl": context, "max_size": 2**24, "subprotocols": ["chat"]}
    # The gate listens on IPv4 alone, whatever `localhost` resolves to.
    options |= {"host": "127.0.0.1", "server_hostname": "localhost"}
    async with websockets.connect(url, **options) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        for message in ["hello", "", "\u00fc" * 1000, b"\x00\xff" * 500_000]:
            await socket.send(message)
            assert await socket.recv() == message, message[:20]
        # Many at once, so that both directions are busy at the same time.
        for number in range(200):
            await socket.send(str(number))
        for number in range(200):
            assert await socket.recv() == str(number)
        await asyncio.wait_for(await socket.ping(), 10)
        await socket.send("end")
        await asyncio.wait_for(socket.wait_closed(), 10)
        assert (socket.close_code, socket.close_reason) == (4321, "as asked")
    print("all well")


if sys.argv[1] == "serve":
    asyncio.run(serve())
else:
    asyncio.run(asyncio.wait_for(call(int(sys.argv[2]), sys.argv[3]), 30))
