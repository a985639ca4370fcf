"""Stands in for a MongoDB server, which no registry has: speaks its wire protocol (OP_MSG) and stores nothing."""

import socketserver
import struct
import sys

import bson

HEADER = struct.Struct("<iiii")  # length, request id, the request it answers, operation
OP_MSG = 2013
HELLO = {"isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 16 << 20,
         "maxMessageSizeBytes": 48 << 20, "maxWriteBatchSize": 100_000, "readOnly": False, "ok": 1.0}  # fmt: skip
ANSWERS = {
    "hello": HELLO,
    "insert": {"n": 1, "ok": 1.0},
    "find": {"cursor": {"id": bson.Int64(0), "ns": "shop.orders", "firstBatch": [{"number": 7}]}, "ok": 1.0},
    "refused": {"ok": 0.0, "errmsg": "no such command: 'refused'", "code": 59, "codeName": "CommandNotFound"},
}


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.read(HEADER.size)
            if len(head) < HEADER.size:
                return
            length, request, _answered, operation = HEADER.unpack(head)
            assert operation == OP_MSG
            body = self.rfile.read(length - HEADER.size)
            at = 5  # flags, and the kind of the first section: a document
            size = struct.unpack_from("<i", body, at)[0]
            command = bson.decode(body[at : at + size])
            answer = ANSWERS.get(next(iter(command)), {"ok": 1.0})
            data = b"\0\0\0\0\0" + bson.encode(answer)
            self.wfile.write(HEADER.pack(HEADER.size + len(data), 0, request, OP_MSG) + data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Connection) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
    sys.exit()
