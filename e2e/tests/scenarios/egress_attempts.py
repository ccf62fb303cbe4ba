"""What a guest tries, as root, to get where a policy of `internet` does not let it. Prints a line for each attempt:
milliseconds, what came of it, what it was. Only what is marked as allowed may have reached anything."""

import socket
import struct
import subprocess
import time

GATEWAY, HOST, OWN = "198.18.0.1", "198.18.0.3", ["44.0.0.1", "10.9.0.1", "2a00:44::1"]
ALLOWED = "44.0.0.2"
LIMIT_MS = 1000


def attempt(what, act):
    """`act` says what came of it, and how many seconds it took if it knows better: programs start slowly here."""
    # Twice, should it have been late: the machine may have been busy with something else.
    for _ in range(2):
        start, own = time.monotonic(), None
        try:
            outcome = act()
            if isinstance(outcome, tuple):
                outcome, own = outcome
        except (OSError, ValueError) as error:
            outcome = f"failed: {error}"
        took = (own or time.monotonic() - start) * 1000
        if took < LIMIT_MS or outcome.startswith("reached"):
            break
    print(f"{took:.0f}", " ".join(outcome.split()), what, sep="\t", flush=True)


def tcp(host, port=80, family=0, source=None):
    def act():
        error = None
        for kind, _, _, _, to in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
            with socket.socket(kind, socket.SOCK_STREAM) as connection:
                connection.settimeout(3)
                try:
                    if source:
                        connection.bind((source, 0))
                    connection.connect(to)
                except OSError as failure:
                    error = failure
                    continue
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                return f"reached {connection.recv(200)[-60:]!r}"
        raise error

    attempt(f"tcp {host} {port} {source or ''}", act)


def udp(host, port=7):
    def act():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.settimeout(0.3)
            sender.connect((host, port))
            sender.send(b"anybody?")
            return f"reached {sender.recv(100)!r}"

    attempt(f"udp {host} {port}", act)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def raw(what, protocol, to, payload, source="198.18.0.2", options=b"", fragment=0):
    """A packet made by hand, and whatever of that protocol comes back from there."""

    def act():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            answers = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
            answers.settimeout(0.1)
            length = 20 + len(options)
            head = struct.pack(
                "!BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(payload), 77, fragment, 64, protocol, 0,
                socket.inet_aton(source), socket.inet_aton(to),
            ) + options
            sender.sendto(head + payload, (to, 0))
            while True:
                packet = answers.recv(2000)
                rest = packet[(packet[0] & 15) * 4:]
                is_refusal = protocol == 6 and rest[13] & 4 or protocol == 1 and rest[0] != 0
                if packet[12:16] == socket.inet_aton(to) and not is_refusal:
                    return f"reached {packet[:60].hex()}"

    attempt(f"{'allowed ' * (to == ALLOWED)}raw {what} {to}", act)


def syn(source, to, port):
    def segment(check):
        return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 65535, check, 0)

    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!BBH", 0, 6, 20)
    return segment(checksum(pseudo + segment(0)))


def datagram(port):
    return struct.pack("!HHHH", 40001, port, 16, 0) + b"anybody?"


def echo_request():
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + b"anybody?"
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def dns(name, over_tcp):
    """A lookup by hand: names as no resolver of the guest's would send them."""

    def act():
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
        query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
        kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as resolver:
            resolver.settimeout(3)
            resolver.connect((GATEWAY, 53))
            resolver.sendall(struct.pack("!H", len(query)) * over_tcp + query)
            answer = resolver.recv(2000)[2 * over_tcp:]
        code, count = answer[3] & 15, struct.unpack("!H", answer[6:8])[0]
        return f"reached {answer.hex()}" if count else f"failed: answer {code}"

    attempt(f"dns {name} {'over tcp' if over_tcp else ''}", act)


def curl(*arguments):
    def act():
        start = ["curl", "-sS", "-L", "--max-time", "3", "-w", "%{time_total} %{http_code}"]
        ended = subprocess.run([*start, *arguments], capture_output=True, text=True)
        reached = "you reached" in ended.stdout
        outcome = f"reached {ended.stdout}" if reached else f"failed: {ended.stdout} {ended.stderr.strip()[:100]}"
        return outcome, float(ended.stdout.split()[-2])

    attempt(f"curl {' '.join(arguments)}", act)


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


# Addresses as they stand: private, shared, link-local, metadata, future use, nobody's, groups'.
for address in (
    "10.9.0.2 192.168.77.2 172.16.5.2 100.64.0.2 169.254.169.254 168.63.129.16 100.100.100.200 "
    "240.0.0.9 0.0.0.0 0.0.0.1 127.0.0.1 255.255.255.255 224.0.0.1 239.1.2.3 198.19.3.4 198.19.255.255"
).split():
    tcp(address)
# The host and the gateway.
for address, port in [(OWN[0], 80), (OWN[0], 7), (OWN[1], 80), (GATEWAY, 80), (GATEWAY, 22), (HOST, 80), (HOST, 7)]:
    tcp(address, port)
tcp(HOST, 11434)
# Other ways to write 127.0.0.1, 10.9.0.2 and 44.0.0.1.
for text in "2130706433 0x7f.1 017700000001 127.1 0xa090002 168361986 012.011.0.2 10.589826 0x2c.0.0.1".split():
    tcp(text)
curl("http://2130706433/")
curl("http://0xa090002/")
for address in ["::ffff:10.9.0.2", "::ffff:127.0.0.1", "::ffff:44.0.0.1", "::1"]:
    tcp(address, family=socket.AF_INET6)
# Names that lead there.
for name in (
    "private.test PRIVATE.test. loopback.test loopback6.test metadata.test azure.test mapped.test nat64.test "
    "sixtofour.test unique-local.test own.test own-private.test own6.test link-local6.test group.test "
    "localhost. LOCALHOST.x.localhost host.vm HOST.VM. other-vm.vm no-such-name.test"
).split():
    tcp(name)
for name in ["localhost", "LocalHost.", "2130706433", "0x7f.1", "other-vm.vm", "127.0.0.1"]:
    dns(name, over_tcp=False)
dns("localhost", over_tcp=True)
dns("a.localhost", over_tcp=True)
# Servers that send the client elsewhere.
for target in ["10.9.0.2", "private.test", "127.0.0.1:11434", "host.vm:11434", "44.0.0.1", "[fd44::2]", "2130706433"]:
    curl(f"http://open.test/to/{target}")
# UDP.
for address in ["10.9.0.2", OWN[0], "169.254.169.254", "239.1.2.3", "255.255.255.255", HOST, "198.19.3.4"]:
    udp(address)
udp(GATEWAY, 7)
# Packets made by hand, with other sources, of other protocols, in fragments, with a route in them.
raw("syn", 6, ALLOWED, syn("198.18.0.2", ALLOWED, 80))
raw("datagram", 17, ALLOWED, datagram(7))
raw("ping", 1, ALLOWED, echo_request())
for target in ["10.9.0.2", OWN[0], HOST]:
    raw("syn", 6, target, syn("198.18.0.2", target, 80))
    raw("datagram", 17, target, datagram(7))
    raw("ping", 1, target, echo_request())
    raw("gre", 47, target, b"\0\0\x08\0" + b"E" * 40)
for source in ["10.9.0.2", "127.0.0.1", "44.0.0.1", "198.18.0.3", "198.18.0.1"]:
    raw(f"syn from {source}", 6, "10.9.0.2", syn(source, "10.9.0.2", 80), source)
    raw(f"datagram from {source}", 17, "10.9.0.2", datagram(7), source)
raw("syn to loopback", 6, "127.0.0.1", syn("198.18.0.2", "127.0.0.1", 11434))
raw("fragment", 17, "10.9.0.2", datagram(7), fragment=0x2000)
route = bytes([131, 7, 4]) + socket.inet_aton("44.0.0.2") + b"\0"
raw("source route", 17, "10.9.0.2", datagram(7), options=route)
raw("gre", 47, "44.0.0.3", b"\0\0\x08\0" + b"E" * 40)
# Routes and addresses of its own.
ip("route add 10.9.0.0/24 via 198.18.0.77 dev eth0")
tcp("10.9.0.2")
ip("address add 10.9.0.77/24 dev eth0")
tcp("10.9.0.2", source="10.9.0.77")
ip("address add 192.168.77.9/24 dev lo")
tcp("192.168.77.2", source="192.168.77.9")
for device in ["all", "eth0"]:
    with open(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6", "w") as switch:
        switch.write("0")
ip("-6 address add 2a00:44::99/64 dev eth0 nodad")
ip("-6 route add default dev eth0")
for address in ["2a00:44::2", "fd44::2", "64:ff9b::a09:2", "2002:a09:2::1", "fd00:ec2::254", "2a00:44::1"]:
    tcp(address)
ip("address delete 10.9.0.77/24 dev eth0")
ip("-6 address delete 2a00:44::99/64 dev eth0")
