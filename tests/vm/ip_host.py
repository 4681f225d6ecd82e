#!/usr/bin/python3
"""The host's end of the built-in guest's test net-ip: echoes UDP on 127.0.0.1, or asks an echo there.

	ip_host.py echo PORT		says "ready PORT" (PORT 0: the kernel picks one), and echoes until it is killed
	ip_host.py ask PORT COUNT	COUNT datagrams, each of which has to come back as it was
	ip_host.py names		is a name server at 127.0.0.1 to which all names have one address
	ip_host.py get PORT BYTES	connects until it is given so many bytes, answers with a line, and says their MD5
"""
import hashlib
import os
import socket
import sys
import time

ADDRESS = "127.0.0.1"
NAMED = "192.0.2.77"
TRIES = 20  # of a second each: the guest may not be ready yet


def echo(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, port))
    print("ready", server.getsockname()[1], flush=True)
    while True:
        data, peer = server.recvfrom(65536)
        server.sendto(data, peer)


def ask(port, count):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1)
    client.connect((ADDRESS, port))
    for i in range(count):
        data = os.urandom(50 + 100 * (i % 14))
        for _ in range(TRIES):
            try:
                client.send(data)
                if client.recv(65536) != data:
                    raise SystemExit(f"ip_host: datagram {i} of {len(data)} bytes came back as another")
                break
            except OSError:  # nothing came, or nobody listens
                pass
        else:
            raise SystemExit(f"ip_host: datagram {i} did not come back")
    print("asked", count, flush=True)


def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, 53))
    print("ready", flush=True)
    while True:
        query, peer = server.recvfrom(512)
        question = query[12:query.index(b"\0", 12) + 5]
        is_a = question[-4:-2] == b"\0\1"
        answer = b"\xc0\x0c" + question[-4:] + bytes((0, 0, 0, 60, 0, 4)) + socket.inet_aton(NAMED)
        server.sendto(query[:2] + b"\x81\x80\0\1" + bytes((0, is_a, 0, 0, 0, 0)) + question +
                      (answer if is_a else b""), peer)


def get(port, count):
    for _ in range(TRIES):
        md5, left = hashlib.md5(usedforsecurity=False), count
        with socket.create_connection((ADDRESS, port)) as connection:
            while left and (more := connection.recv(1 << 20)):
                md5.update(more)
                left -= len(more)
            if not left:
                connection.sendall(b"\n")
                print(md5.hexdigest(), flush=True)
                return
        time.sleep(1)
    raise SystemExit(f"ip_host: port {port} gave {count - left} bytes, not {count}")


def main():
    modes = {"echo": echo, "ask": ask, "names": names, "get": get}
    modes[sys.argv[1]](*map(int, sys.argv[2:]))


main()
