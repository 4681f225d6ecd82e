/*
 * -netdev user: what the options mean. Names and defaults are those of QEMU's option of that name.
 *
 * Set-up, and the monitor's commands. Nothing here touches the network.
 */
#include "net/user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULE "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport"

/* ---- IPv4 ---- */

static int parse_in(const char *name, const char *text, struct in_addr *out, struct err *err)
{
	if (inet_pton(AF_INET, text, out) == 1)
		return 0;
	return err_set(err, -EINVAL, "%s=%s: '%s' is no IPv4 address (such as 10.0.2.2)", name,
		       text, text);
}

/* A length of a prefix in bits; -1: it's none. */
static int parse_bits(const char *text, unsigned int max)
{
	uint64_t bits;

	return opt_parse_u64(text, &bits) || bits > max ? -1 : (int)bits;
}

/* 255.255.255.0, or the number of bits. */
static int parse_mask(const char *net, const char *text, struct in_addr *mask, struct err *err)
{
	int bits = parse_bits(text, 32);
	uint32_t rest;

	if (bits >= 0)
		mask->s_addr = htonl(bits ? ~UINT32_C(0) << (32 - bits) : 0);
	else if (inet_pton(AF_INET, text, mask) != 1)
		return err_set(err, -EINVAL, "net=%s: '%s' is no netmask (such as 24)", net, text);
	rest = ~ntohl(mask->s_addr);
	if (rest & (rest + 1))
		return err_set(err, -EINVAL, "net=%s: the mask has gaps", net);
	if (rest < 31 || !mask->s_addr)
		return err_set(err, -EINVAL, "net=%s: needs a mask of 1 to 27 bits", net);
	return 0;
}

/* The mask of an address without one, by its class. RFC 791 §2.3 */
static uint32_t class_mask(uint32_t address)
{
	if (!(address & 0x80000000))
		return 0xff000000;
	return address & 0x40000000 ? 0xffffff00 : 0xffff0000;
}

static int parse_net(const char *text, struct user_addresses *a, struct err *err)
{
	char address[INET_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	int r;

	snprintf(address, sizeof(address), "%.*s", (int)len, text);
	if (len >= sizeof(address) || inet_pton(AF_INET, address, &a->net) != 1)
		return err_set(err, -EINVAL, "net=%s: is no network (such as 10.0.2.0/24)", text);
	if (text[len]) {
		r = parse_mask(text, text + len + 1, &a->mask, err);
		if (r)
			return r;
	} else {
		a->mask.s_addr = htonl(class_mask(ntohl(a->net.s_addr)));
	}
	a->net.s_addr &= a->mask.s_addr;
	return 0;
}

/* text, or the nth address of the network. */
static int parse_in_net(const char *name, const char *text, uint32_t nth,
			const struct user_addresses *a, struct in_addr *out, struct err *err)
{
	int r;

	out->s_addr = a->net.s_addr | htonl(nth);
	if (!text)
		return 0;
	r = parse_in(name, text, out, err);
	if (r)
		return r;
	if ((out->s_addr & a->mask.s_addr) != a->net.s_addr)
		return err_set(err, -EINVAL, "%s=%s: is not in the guest's network (net=)", name,
			       text);
	if (out->s_addr == a->net.s_addr || out->s_addr == (a->net.s_addr | ~a->mask.s_addr))
		return err_set(err, -EINVAL, "%s=%s: is the network's own or broadcast address",
			       name, text);
	return 0;
}

static int addresses4(const struct user_opts *o, struct user_addresses *a, struct err *err)
{
	int r = parse_net(o->net, a, err);

	if (!r)
		r = parse_in_net("host", o->host, 2, a, &a->host, err);
	if (!r)
		r = parse_in_net("dns", o->dns, 3, a, &a->dns, err);
	if (!r)
		r = parse_in_net("dhcpstart", o->dhcpstart, 15, a, &a->dhcpstart, err);
	if (r)
		return r;
	if (a->host.s_addr == a->dns.s_addr || a->host.s_addr == a->dhcpstart.s_addr ||
	    a->dns.s_addr == a->dhcpstart.s_addr)
		return err_set(err, -EINVAL,
			       "host=, dns= and dhcpstart= have to be three addresses");
	return 0;
}

/* ---- IPv6 ---- */

static int parse_net6(const char *text, struct user_addresses *a, struct err *err)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	int bits = text[len] ? parse_bits(text + len + 1, 126) : 64;

	snprintf(address, sizeof(address), "%.*s", (int)len, text);
	if (len >= sizeof(address) || inet_pton(AF_INET6, address, &a->net6) != 1 || bits < 0)
		return err_set(err, -EINVAL, "ipv6-net=%s: is no network (such as fec0::/64)",
			       text);
	a->prefix6 = (uint8_t)bits;
	for (int i = bits; i < 128; i++)
		a->net6.s6_addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return 0;
}

static bool in_net6(const struct user_addresses *a, const struct in6_addr *address)
{
	for (int i = 0; i < a->prefix6; i++)
		if ((address->s6_addr[i / 8] ^ a->net6.s6_addr[i / 8]) & 0x80 >> i % 8)
			return false;
	return true;
}

static int parse_in6(const char *name, const char *text, uint8_t nth,
		     const struct user_addresses *a, struct in6_addr *out, struct err *err)
{
	*out = a->net6;
	out->s6_addr[15] |= nth;
	if (!text)
		return 0;
	if (inet_pton(AF_INET6, text, out) != 1)
		return err_set(err, -EINVAL, "%s=%s: is no IPv6 address (such as fec0::2)", name,
			       text);
	if (!in_net6(a, out))
		return err_set(err, -EINVAL, "%s=%s: is not in the guest's network (ipv6-net=)",
			       name, text);
	return 0;
}

static int addresses6(const struct user_opts *o, struct user_addresses *a, struct err *err)
{
	int r = parse_net6(o->ipv6_net, a, err);

	if (!r)
		r = parse_in6("ipv6-host", o->ipv6_host, 2, a, &a->host6, err);
	if (!r)
		r = parse_in6("ipv6-dns", o->ipv6_dns, 3, a, &a->dns6, err);
	if (r)
		return r;
	if (!memcmp(&a->host6, &a->dns6, sizeof(a->host6)))
		return err_set(err, -EINVAL, "ipv6-host= and ipv6-dns= have to be two addresses");
	return 0;
}

int user_addresses(const struct user_opts *o, struct user_addresses *a, struct err *err)
{
	int r = addresses4(o, a, err);

	if (!r)
		r = addresses6(o, a, err);
	if (!r && !o->ipv4 && !o->ipv6)
		r = err_set(err, -EINVAL, "ipv4=off and ipv6=off leave nothing");
	return r;
}

/* ---- hostfwd ---- */

static int rule_bad(const char *rule, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "hostfwd=%s: %s (a rule is " RULE ")", rule, what);
}

/* The address up to the colon at *at, which is stepped over; *out stays as it is where there is none. */
static bool rule_address(const char **at, struct in_addr *out)
{
	char address[INET_ADDRSTRLEN];
	size_t len = strcspn(*at, ":");

	if ((*at)[len] != ':' || len >= sizeof(address))
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)len, *at);
	*at += len + 1;
	return !len || inet_pton(AF_INET, address, out) == 1;
}

/* A port up to `end`. */
static bool rule_port(const char **at, char end, uint16_t min, uint16_t *out)
{
	char digits[8];
	size_t len = end ? strcspn(*at, (char[2]){end, 0}) : strlen(*at);
	uint64_t port;

	if (!len || len >= sizeof(digits) || (*at)[len] != end)
		return false;
	snprintf(digits, sizeof(digits), "%.*s", (int)len, *at);
	if (strspn(digits, "0123456789") != len || opt_parse_u64(digits, &port) || port < min ||
	    port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	*at += len;
	return true;
}

int user_forward_parse(const char *rule, bool whole, const struct user_addresses *a,
		       struct user_forward *f, struct err *err)
{
	const char *at = rule;

	*f = (struct user_forward){.guest = a->dhcpstart};
	f->udp = !strncmp(at, "udp:", 4);
	if (!f->udp && strncmp(at, "tcp:", 4) && *at != ':')
		return rule_bad(rule, "starts with neither tcp: nor udp:", err);
	at += *at == ':' ? 1 : 4;
	if (!rule_address(&at, &f->host))
		return rule_bad(rule, "the host's address is no IPv4 address with ':' behind it",
				err);
	if (!rule_port(&at, whole ? '-' : '\0', 0, &f->host_port))
		return rule_bad(
			rule,
			whole ? "the host's port is no number (0 to 65535) with '-' behind it"
			      : "the host's port is no number (0 to 65535) at the end",
			err);
	if (!whole)
		return 0;
	at++;
	if (!rule_address(&at, &f->guest))
		return rule_bad(rule, "the guest's address is no IPv4 address with ':' behind it",
				err);
	if (!rule_port(&at, '\0', 1, &f->guest_port))
		return rule_bad(rule, "the guest's port is no number (1 to 65535) at the end", err);
	if ((f->guest.s_addr & a->mask.s_addr) != a->net.s_addr)
		return rule_bad(rule, "the guest's address is not in its network (net=)", err);
	return 0;
}

void user_forward_text(const struct user_forward *f, char *text, size_t size)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	inet_ntop(AF_INET, &f->guest, guest, sizeof(guest));
	snprintf(text, size, "%s:%s:%u-%s:%u", f->udp ? "udp" : "tcp", host, f->host_port, guest,
		 f->guest_port);
}
