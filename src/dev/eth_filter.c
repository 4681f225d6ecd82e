/*
 * Address filter of Ethernet cards, and the CRC behind it: eth_filter.h has the contract.
 *
 * zlib's crc32() is the CRC-32 of IEEE 802.3 §3.2.9 with the lowest bit of each byte first, start
 * value and result inverted. The register of a card that shifts left holds the same remainder,
 * mirrored.
 */
#include "dev/eth_filter.h"

#include <string.h>
#include <zlib.h>

uint32_t eth_crc_add(uint32_t crc, const void *data, size_t len)
{
	return ~(uint32_t)crc32_z(~crc, data, len);
}

uint32_t eth_crc_le(const uint8_t *data, size_t len)
{
	return eth_crc_add(ETH_CRC_START, data, len);
}

static uint32_t mirror(uint32_t v)
{
	v = (v >> 1 & 0x55555555) | (v & 0x55555555) << 1;
	v = (v >> 2 & 0x33333333) | (v & 0x33333333) << 2;
	v = (v >> 4 & 0x0f0f0f0f) | (v & 0x0f0f0f0f) << 4;
	return __builtin_bswap32(v);
}

uint32_t eth_crc_be(const uint8_t *data, size_t len)
{
	return mirror(eth_crc_le(data, len));
}

void eth_fcs(uint32_t crc, uint8_t fcs[4])
{
	crc = ~crc;
	for (int i = 0; i < 4; i++)
		fcs[i] = (uint8_t)(crc >> 8 * i);
}

unsigned int eth_hash_index(enum eth_hash hash, const uint8_t address[6])
{
	if (hash == ETH_HASH_LE_TOP6)
		return eth_crc_le(address, 6) >> 26;
	return eth_crc_be(address, 6) >> 26;
}

enum eth_match eth_filter_match(const struct eth_filter *f, const uint8_t destination[6])
{
	if (eth_is_multicast(destination)) {
		if (f->broadcast && eth_is_broadcast(destination))
			return ETH_MATCH_BROADCAST;
		if (f->all_multicast)
			return ETH_MATCH_MULTICAST;
		if (f->multicast && f->table >> eth_hash_index(f->hash, destination) & 1)
			return ETH_MATCH_MULTICAST;
	} else if (f->unicast && !memcmp(destination, f->station, 6)) {
		return ETH_MATCH_STATION;
	}
	return f->promiscuous ? ETH_MATCH_PROMISCUOUS : ETH_NO_MATCH;
}
