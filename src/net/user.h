/*
 * -netdev user: what its parts share. user.c moves frames, user_opt.c knows what the options mean.
 */
#ifndef VIREO_NET_USER_H
#define VIREO_NET_USER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/opt.h"

/* Options as they were written. */
struct user_opts {
	bool ipv4, ipv6, restricted;
	char *net, *host, *dns, *dhcpstart;
	char *ipv6_net, *ipv6_host, *ipv6_dns;
	char *hostname, *domainname, *tftp, *tftp_server_name, *bootfile;
	char **dnssearch, **hostfwd;
	uint32_t mtu; /* bytes */
};

/* What they say. Addresses in network byte order. */
struct user_addresses {
	struct in_addr net, mask, host, dns, dhcpstart;
	struct in6_addr net6, host6, dns6;
	uint8_t prefix6; /* bits */
};

/* 0, or -EINVAL with err set. */
int user_addresses(const struct user_opts *o, struct user_addresses *a, struct err *err);

/* A port of the host's that leads into the guest. Addresses in network byte order, ports in the host's. */
struct user_forward {
	bool udp;
	struct in_addr host, guest; /* host 0.0.0.0: all of the host's addresses */
	uint16_t host_port, guest_port;
};

/* [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, and with no "-" and what follows (whole false:
 * to take one away). guestaddr: a's first by DHCP, and in a's network. 0, or -EINVAL with err set. */
int user_forward_parse(const char *rule, bool whole, const struct user_addresses *a,
		       struct user_forward *f, struct err *err);
/* "tcp:127.0.0.1:2222-10.0.2.15:22" */
void user_forward_text(const struct user_forward *f, char *text, size_t size);
#define USER_FORWARD_TEXT 64

#endif
