/*
 * Which frames an Ethernet card takes: station address, broadcast, multicast by a hash of the
 * address, promiscuous; and the CRC that hashes and FCS come from (IEEE 802.3 §3.2.9).
 */
#ifndef VIREO_DEV_ETH_FILTER_H
#define VIREO_DEV_ETH_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The CRC-32 of the FCS over len bytes, as the remainder stands in a shift register that starts
 * with all ones and takes each byte's lowest bit first; not inverted at the end. le: the register
 * shifts right, be: left (the same, mirrored). Cards take 6 bits of one or the other as the index
 * into a table of 64 bits.
 */
uint32_t eth_crc_le(const uint8_t *data, size_t len);
uint32_t eth_crc_be(const uint8_t *data, size_t len);
/* eth_crc_le() in pieces: from ETH_CRC_START, each goes on with what the one before it gave. */
#define ETH_CRC_START UINT32_C(0xffffffff)
uint32_t eth_crc_add(uint32_t crc, const void *data, size_t len);
/* The FCS of a frame whose bytes gave `crc`, in the order in which it stands on the wire. */
void eth_fcs(uint32_t crc, uint8_t fcs[4]);

/* Bit n of a card's table, counted from bit 0 of its first byte. The i8255x is given addresses and
 * hashes them itself: either does. */
enum eth_hash {
	/* Bits 31-26 of eth_crc_be(). DP8390 (MAR0-7), RTL8139 (MAR0-7). */
	ETH_HASH_BE_TOP6,
	/* Bits 31-26 of eth_crc_le(). Am79C970A (LADRF: CSR8-11). */
	ETH_HASH_LE_TOP6,
};

struct eth_filter {
	uint8_t station[6];
	bool promiscuous; /* everything */
	bool all_multicast;
	bool broadcast;
	bool unicast;	/* frames for the station address */
	bool multicast; /* those that the table has */
	enum eth_hash hash;
	uint64_t table; /* bit n: addresses with hash n */
};

enum eth_match {
	ETH_NO_MATCH,
	ETH_MATCH_PROMISCUOUS, /* by nothing else */
	ETH_MATCH_STATION,
	ETH_MATCH_MULTICAST,
	ETH_MATCH_BROADCAST,
};

/* 0-63. */
unsigned int eth_hash_index(enum eth_hash hash, const uint8_t address[6]);
/* The broadcast address is a multicast address, too: with `broadcast` off, all_multicast and the
 * table take it. */
enum eth_match eth_filter_match(const struct eth_filter *f, const uint8_t destination[6]);

static inline bool eth_is_broadcast(const uint8_t a[6])
{
	return (a[0] & a[1] & a[2] & a[3] & a[4] & a[5]) == 0xff;
}

static inline bool eth_is_multicast(const uint8_t a[6])
{
	return a[0] & 1;
}

#endif
