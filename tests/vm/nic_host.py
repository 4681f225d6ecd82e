#!/usr/bin/python3
"""The host's end of lab_nics.py: runs in the namespace that has the TAPs.

	nic_host.py INTERFACE:MAC ...

Each interface with the address of the card behind it. Takes commands on standard input, one per line, and answers each
with a line on standard output:

	ping ADDRESS SIZE|FIRST-LAST[/STEP] ...
				echo requests of those sizes; what comes back is compared byte for byte
	frames INTERFACE TAG	raw frames to addresses of every kind, from 02:00:00:00:00:TAG: see KINDS
	flood RATE		so many raw frames a second on each interface, of all sizes; 0: no more
	counters INTERFACE	frames and bytes that came out of the guest and went into it
	sum MIB			the checksum of so many MiB from port 7002

TCP, each connection in a thread of its own:

	7001	reads a number of MiB, takes so many, and says how much it was and which checksums its MiB have
	7002	reads a number of MiB, and sends so many
"""
import hashlib
import os
import random
import select
import socket
import struct
import sys
import threading
import time

PROTOCOL = 0x88b5  # of frames that mean nothing to the guest: IEEE 802's, for experiments
KINDS = {  # of destinations: see filter() in nic_checks.sh
    "broadcast": "ff:ff:ff:ff:ff:ff",
    "other": "52:54:00:99:88:77",
    "joined": "01:00:5e:01:02:03",
    "group": "01:00:5e:44:55:66",
}
FRAMES_OF_A_KIND = 3
WINDOW, WINDOW_BYTES = 8, 24000  # echo requests under way: what is more may be lost in the two kernels' queues
# Then a pause. The buffer of a Linux guest's ICMP socket has room for 57 answers of more than 700 bytes, and it is given
# free when the driver has found nothing more to receive, or 64 frames.
AT_A_STRETCH, PAUSE = 32, 0.02
ECHO_SECONDS = 60  # that the guest has for an answer: where the machine is busy it stands still as a whole
SO_RCVBUFFORCE = 33  # of Linux; not in the module socket
MIB = 1 << 20
DATA = os.urandom(MIB)


def checksum(data):
    """MD5, for its speed: in the lab it was 105 MiB/s in a process, SHA-256 17."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


# ---- TCP ----

def receive(connection):
    sums, count, data = [], 0, connection.makefile("rb")
    for _ in range(int(data.readline())):
        mib = data.read(MIB)
        count += len(mib)
        found = checksum(mib)
        if found not in sums:
            sums.append(found)
    connection.sendall(f"received={count} sums={','.join(sums[:5])}\n".encode())


def send(connection):
    count = int(connection.makefile().readline())
    for _ in range(count):
        connection.sendall(DATA)


def serve(port, handler):
    server = socket.create_server(("", port))

    def handle(connection):
        with connection:
            try:
                handler(connection)
            except OSError as error:
                print(f"nic_host: port {port}: {error}", file=sys.stderr, flush=True)

    while True:
        threading.Thread(target=handle, args=server.accept()[:1], daemon=True).start()


# ---- commands ----

def internet_checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Echo:
    """A sweep of echo requests; some are under way at any time."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self.id = random.randrange(1 << 16)
        self.waiting = {}  # sequence number: what was sent
        self.wrong = []

    def send(self, sequence, size):
        data = random.randbytes(size)
        head = struct.pack("!BBHHH", 8, 0, 0, self.id, sequence)
        head = struct.pack("!BBHHH", 8, 0, internet_checksum(head + data), self.id, sequence)
        self.waiting[sequence] = data
        self.socket.sendto(head + data, (self.address, 0))

    def take(self):
        packet = self.socket.recv(1 << 16)
        icmp = packet[(packet[0] & 15) * 4:]
        kind, _, _, number, sequence = struct.unpack("!BBHHH", icmp[:8])
        if kind == 0 and number == self.id and sequence in self.waiting:
            sent = self.waiting.pop(sequence)
            if icmp[8:] != sent:
                self.wrong.append(len(sent))

    def run(self, sizes):
        sent = 0
        for size in sizes:
            self.send(sent, size)
            sent += 1
            if not self.drain(min(WINDOW, WINDOW_BYTES // size) - 1 if sent % AT_A_STRETCH else 0):
                break
            if not sent % AT_A_STRETCH:
                time.sleep(PAUSE)
        self.drain(0)
        lost = [len(data) for data in self.waiting.values()]
        return f"sent={sent} lost={len(lost)} wrong={len(self.wrong)}" + (
            f" (of these sizes: {(lost + self.wrong)[:20]})" if lost or self.wrong else "")

    def drain(self, left):
        """Waits until no more than so many are under way."""
        while len(self.waiting) > left:
            if not select.select([self.socket], [], [], ECHO_SECONDS)[0]:
                return False
            self.take()
        return True


def ping(address, *words):
    sizes = []
    for word in words:
        span, _, step = word.partition("/")
        first, _, last = span.partition("-")
        sizes += range(int(first), int(last or first) + 1, int(step or 1))
    return Echo(address).run(sizes)


class Interface:
    def __init__(self, name, mac):
        self.name, self.mac = name, mac
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((name, 0))

    def send(self, destination, source, size):
        head = mac_bytes(destination) + mac_bytes(source) + PROTOCOL.to_bytes(2, "big")
        self.socket.send(head + bytes(size - len(head)))

    def frames(self, tag):
        """The last one to the card's own address tells the guest that there are no more."""
        for kind in (*KINDS, "own"):
            for _ in range(FRAMES_OF_A_KIND):
                self.send(KINDS.get(kind, self.mac), f"02:00:00:00:00:{tag}", 60)
        return f"frames={FRAMES_OF_A_KIND}"

    def counters(self):
        """The kernel's, for which a TAP receives what the guest sends."""
        with open("/proc/self/net/dev", encoding="ascii") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name.strip() == self.name:
                    n = [int(word) for word in rest.split()]
                    return f"tap_rx={n[1]} tap_rx_bytes={n[0]} tap_tx={n[9]} tap_tx_bytes={n[8]} tap_drops={n[11]}"
        return f"no interface {self.name}"


class Flood(threading.Thread):
    """Frames at a rate, also to nobody, until it is told to end."""
    RATE = 0

    def __init__(self, interfaces):
        super().__init__(daemon=True)
        self.interfaces = interfaces
        self.start()

    def run(self):
        due = time.monotonic()
        while True:
            if not self.RATE:
                time.sleep(0.01)
                due = time.monotonic()
                continue
            due = max(due + 1 / self.RATE, time.monotonic() - 0.1)
            time.sleep(max(due - time.monotonic(), 0))
            for interface in self.interfaces:
                to = random.choice((interface.mac, interface.mac, *KINDS.values()))
                try:
                    interface.send(to, "02:00:00:00:00:ff", random.randint(60, 1514))
                except OSError:
                    pass  # its queue is full: so it was a flood


def main():
    interfaces = {}
    for word in sys.argv[1:]:
        name, _, mac = word.partition(":")
        interfaces[name] = Interface(name, mac)
    flood = Flood(interfaces.values())
    for port, handler in ((7001, receive), (7002, send)):
        threading.Thread(target=serve, args=(port, handler), daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "ping":
            answer = ping(*words)
        elif command == "frames":
            answer = interfaces[words[0]].frames(words[1])
        elif command == "counters":
            answer = interfaces[words[0]].counters()
        elif command == "sum":
            total = hashlib.md5(usedforsecurity=False)
            for _ in range(int(words[0])):
                total.update(DATA)
            answer = total.hexdigest()
        elif command == "flood":
            flood.RATE = int(words[0])
            answer = "ok"
        else:
            answer = f"no command {command}"
        print(f"answer: {answer}", flush=True)


main()
