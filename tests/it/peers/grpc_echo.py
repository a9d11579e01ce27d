"""A gRPC server without TLS (serve), and a client that calls it over TLS (call PORT ROOT)."""

import sys
import threading
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("seen", "initial"),))
    context.set_trailing_metadata((("size", str(len(request))),))
    return request


def count(request, _context):
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, _context):
    return str(sum(int(request) for request in requests)).encode()


def converse(requests, _context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "there is no " + request.decode())


def stall(_request, context):
    # Until the client has lost its patience, which cancels the call.
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(20)
    return b""


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Converse": grpc.stream_stream_rpc_method_handler(converse),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Stall": grpc.unary_unary_rpc_method_handler(stall),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it should have failed")


def call(port, root):
    with open(root, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        patience = {"timeout": 20, "wait_for_ready": True}
        for size in [0, 5, 100_000]:
            answer, rpc = channel.unary_unary("/Echo/Unary").with_call(b"x" * size, **patience)
            assert answer == b"x" * size
            assert ("seen", "initial") in rpc.initial_metadata(), rpc.initial_metadata()
            assert ("size", str(size)) in rpc.trailing_metadata(), rpc.trailing_metadata()
        counted = list(channel.unary_stream("/Echo/Count")(b"1000", **patience))
        assert counted == [str(number).encode() for number in range(1000)], len(counted)
        numbers = (str(number).encode() for number in range(100))
        assert channel.stream_unary("/Echo/Add")(numbers, **patience) == b"4950"
        words = [b"one", b"two", b"three"]
        said = list(channel.stream_stream("/Echo/Converse")(iter(words), **patience))
        assert said == [b"ONE", b"TWO", b"THREE"], said
        failed = status_of(lambda: channel.unary_unary("/Echo/Fail")(b"such thing", **patience))
        assert failed == (grpc.StatusCode.NOT_FOUND, "there is no such thing"), failed
        unknown = status_of(lambda: channel.unary_unary("/Echo/Nothing")(b"", **patience))
        assert unknown[0] == grpc.StatusCode.UNIMPLEMENTED, unknown
        late = status_of(lambda: channel.unary_unary("/Echo/Stall")(b"", timeout=0.5))
        assert late[0] == grpc.StatusCode.DEADLINE_EXCEEDED, late
        assert channel.unary_unary("/Echo/Unary")(b"after", **patience) == b"after"
    print("all well")


if sys.argv[1] == "serve":
    serve()
else:
    call(int(sys.argv[2]), sys.argv[3])
