/*
 * dev/eth_filter.c: known CRCs and hashes, and each way to be taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/eth_filter.h"

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t station[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t other[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x57};
static const uint8_t all_hosts[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}; /* 224.0.0.1 */
static const uint8_t mdns[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb};

/* One bit at a time, as the standard's polynomial has it, in a register that shifts left. */
static uint32_t slow_be(const uint8_t *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			bool feed = (crc >> 31) ^ (data[i] >> bit & 1);

			crc = crc << 1 ^ (feed ? 0x04c11db7 : 0);
		}
	return crc;
}

/* And in one that shifts right. */
static uint32_t slow_le(const uint8_t *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			bool feed = (crc ^ data[i] >> bit) & 1;

			crc = crc >> 1 ^ (feed ? 0xedb88320 : 0);
		}
	return crc;
}

static void test_crc(void **state)
{
	uint8_t data[300], fcs[4];
	uint32_t crc;

	/* the check value that catalogues give for CRC-32 over "123456789" */
	assert_int_equal(~eth_crc_le((const uint8_t *)"123456789", 9), 0xcbf43926);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len <= sizeof(data); len += 13) {
		assert_int_equal(eth_crc_le(data, len), slow_le(data, len));
		assert_int_equal(eth_crc_be(data, len), slow_be(data, len));
		for (size_t cut = 0; cut <= len; cut += 50) {
			crc = eth_crc_add(ETH_CRC_START, data, cut);
			assert_int_equal(eth_crc_add(crc, data + cut, len - cut),
					 eth_crc_le(data, len));
		}
	}
	/* a frame with its FCS behind it leaves the standard's residue */
	eth_fcs(eth_crc_le(data, 296), fcs);
	memcpy(data + 296, fcs, 4);
	assert_int_equal(eth_crc_be(data, 300), 0xc704dd7b);
}

static void test_hash(void **state)
{
	assert_int_equal(slow_be(all_hosts, 6) >> 26, 31);
	assert_int_equal(eth_hash_index(ETH_HASH_BE_TOP6, all_hosts), 31);
	assert_int_equal(eth_hash_index(ETH_HASH_BE_TOP6, broadcast), 63);
	assert_int_equal(slow_le(all_hosts, 6) >> 26, 54);
	assert_int_equal(eth_hash_index(ETH_HASH_LE_TOP6, all_hosts), 54);
	/* the same hash in a CS89712, whose data sheet (table 29) has it: table 0000 8000 0000 0000
	 */
	assert_int_equal(eth_hash_index(ETH_HASH_LE_TOP6, broadcast), 47);
	assert_int_not_equal(eth_hash_index(ETH_HASH_LE_TOP6, all_hosts),
			     eth_hash_index(ETH_HASH_LE_TOP6, mdns));
}

static void test_unicast(void **state)
{
	struct eth_filter f = {.unicast = true};

	memcpy(f.station, station, 6);
	assert_int_equal(eth_filter_match(&f, station), ETH_MATCH_STATION);
	assert_int_equal(eth_filter_match(&f, other), ETH_NO_MATCH);
	f.promiscuous = true;
	assert_int_equal(eth_filter_match(&f, station), ETH_MATCH_STATION);
	assert_int_equal(eth_filter_match(&f, other), ETH_MATCH_PROMISCUOUS);
	f.unicast = false;
	assert_int_equal(eth_filter_match(&f, station), ETH_MATCH_PROMISCUOUS);
	f.promiscuous = false;
	assert_int_equal(eth_filter_match(&f, station), ETH_NO_MATCH);
}

static void test_multicast(void **state)
{
	struct eth_filter f = {.unicast = true};

	for (int hash = ETH_HASH_BE_TOP6; hash <= ETH_HASH_LE_TOP6; hash++) {
		f.hash = (enum eth_hash)hash;
		f.multicast = true;
		f.table = UINT64_C(1) << eth_hash_index(f.hash, all_hosts);
		assert_int_equal(eth_filter_match(&f, all_hosts), ETH_MATCH_MULTICAST);
		assert_int_equal(eth_filter_match(&f, mdns), ETH_NO_MATCH);
		f.table = ~f.table;
		assert_int_equal(eth_filter_match(&f, all_hosts), ETH_NO_MATCH);
		f.multicast = false;
		assert_int_equal(eth_filter_match(&f, mdns), ETH_NO_MATCH);
	}
	f.all_multicast = true;
	assert_int_equal(eth_filter_match(&f, mdns), ETH_MATCH_MULTICAST);
	assert_int_equal(eth_filter_match(&f, other), ETH_NO_MATCH);
	f.all_multicast = false;
	f.promiscuous = true;
	assert_int_equal(eth_filter_match(&f, mdns), ETH_MATCH_PROMISCUOUS);
}

static void test_broadcast(void **state)
{
	struct eth_filter f = {.broadcast = true};

	assert_int_equal(eth_filter_match(&f, broadcast), ETH_MATCH_BROADCAST);
	assert_int_equal(eth_filter_match(&f, all_hosts), ETH_NO_MATCH);
	f.all_multicast = true;
	assert_int_equal(eth_filter_match(&f, broadcast), ETH_MATCH_BROADCAST);
	f.broadcast = false;
	assert_int_equal(eth_filter_match(&f, broadcast), ETH_MATCH_MULTICAST);
	f.all_multicast = false;
	assert_int_equal(eth_filter_match(&f, broadcast), ETH_NO_MATCH);
	f.multicast = true;
	f.hash = ETH_HASH_LE_TOP6;
	f.table = UINT64_C(1) << eth_hash_index(f.hash, broadcast);
	assert_int_equal(eth_filter_match(&f, broadcast), ETH_MATCH_MULTICAST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),	  cmocka_unit_test(test_hash),
		cmocka_unit_test(test_unicast),	  cmocka_unit_test(test_multicast),
		cmocka_unit_test(test_broadcast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
