/*
 * The wire test of docs/add-a-nic.md: plays the driver on the card's registers and rings, with no guest and
 * no driver of any operating system.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nic_fixture.h"

#define TX_RING	  0x1000 /* in guest memory; buffers are a page each from 0x10000 and 0x20000 on */
#define RX_RING	  0x2000
#define TX_BUF(i) (0x10000u + (i)*0x1000u)
#define RX_BUF(i) (0x20000u + (i)*0x1000u)
#define RING	  4

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/* A frame of len bytes from somebody to `to`. */
static void make_frame(uint8_t *frame, size_t len, const uint8_t *to)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)i;
	memcpy(frame, to, 6);
}

static void put_desc(struct nic_fixture *nf, uint64_t ring, unsigned int i, uint64_t address,
		     unsigned int length)
{
	nf_put(nf, ring + 16 * i, 8, address);
	nf_put(nf, ring + 16 * i + 8, 8, length);
}

static bool is_done(struct nic_fixture *nf, uint64_t ring, unsigned int i)
{
	return nf_get(nf, ring + 16 * i + 10, 2) & 1;
}

/* What a driver does when its interface comes up. */
static int setup(void **state)
{
	struct nic_fixture *nf = nf_new("tiny", "netdev=n0");

	nf_store(nf, 0x20, 4, TX_RING);
	nf_store(nf, 0x24, 4, RING);
	nf_store(nf, 0x30, 4, RX_RING);
	nf_store(nf, 0x34, 4, RING);
	for (unsigned int i = 0; i < RING; i++)
		put_desc(nf, RX_RING, i, RX_BUF(i), 0x1000);
	nf_store(nf, 0x0c, 4, 7);
	nf_store(nf, 0x00, 4, 3);
	nf_store(nf, 0x38, 4, RING - 1);
	nf_run(nf);
	*state = nf;
	return 0;
}

static int teardown(void **state)
{
	nf_free(*state);
	return 0;
}

static void test_registers(void **state)
{
	struct nic_fixture *nf = *state;

	assert_int_equal(nf_load(nf, 0x00, 4), 3);
	assert_int_equal(nf_load(nf, 0x04, 4), 1);
	assert_int_equal(nf_load(nf, 0x10, 4), 0x12005452);
	assert_int_equal(nf_load(nf, 0x14, 4), 0x5634);
	assert_int_equal(nf_load(nf, 0xff0, 4), 0);
	nf_store(nf, 0x00, 4, 0x80);
	assert_int_equal(nf_load(nf, 0x00, 4), 0);
	assert_int_equal(nf_load(nf, 0x0c, 4), 0);
}

static void test_send(void **state)
{
	struct nic_fixture *nf = *state;

	make_frame(nf->ram + TX_BUF(0), 100, mac);
	put_desc(nf, TX_RING, 0, TX_BUF(0), 100);
	nf_store(nf, 0x28, 4, 1);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(nf_sent(nf, 0)->len, 100);
	assert_memory_equal(nf_sent(nf, 0)->data, nf->ram + TX_BUF(0), 100);
	assert_true(is_done(nf, TX_RING, 0));
	assert_true(nf_irq(nf));
	nf_store(nf, 0x08, 4, 1);
	assert_false(nf_irq(nf));
}

/* A short frame is padded, the ring wraps, and a host that is full loses nothing. */
static void test_send_more(void **state)
{
	struct nic_fixture *nf = *state;

	for (unsigned int i = 0; i < 10; i++) {
		nf_full(nf, i == 5);
		put_desc(nf, TX_RING, i % RING, TX_BUF(i % RING), 20);
		nf_store(nf, 0x28, 4, (i + 1) % RING);
		assert_int_equal(is_done(nf, TX_RING, i % RING), i != 5);
		nf_full(nf, false);
		nf_run(nf);
		assert_true(is_done(nf, TX_RING, i % RING));
	}
	assert_int_equal(nf_n_sent(nf), 10);
	assert_int_equal(nf_sent(nf, 9)->len, 60);
}

static void test_receive(void **state)
{
	struct nic_fixture *nf = *state;
	uint8_t frame[1514], other[100];

	make_frame(frame, sizeof(frame), mac);
	make_frame(other, sizeof(other), (const uint8_t *)"\x52\x54\x00\x99\x99\x99");
	nf_rx(nf, other, sizeof(other));
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_true(is_done(nf, RX_RING, 0));
	assert_false(is_done(nf, RX_RING, 1));
	assert_int_equal(nf_get(nf, RX_RING + 8, 2), sizeof(frame));
	assert_memory_equal(nf->ram + RX_BUF(0), frame, sizeof(frame));
	assert_int_equal(nf_load(nf, 0x08, 4), 2);
	assert_true(nf_irq(nf));
	assert_int_equal(counter_get(&nf->nic->counters.rx_filtered), 1);
	nf_store(nf, 0x00, 4, 7); /* promiscuous */
	nf_rx(nf, other, sizeof(other));
	nf_run(nf);
	assert_true(is_done(nf, RX_RING, 1));
}

/* With no buffer left, frames wait until the driver has given one back. */
static void test_no_buffers(void **state)
{
	struct nic_fixture *nf = *state;
	uint8_t frame[64];

	make_frame(frame, sizeof(frame), mac);
	for (int i = 0; i < RING; i++)
		nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_true(is_done(nf, RX_RING, RING - 2));
	assert_false(is_done(nf, RX_RING, RING - 1));
	nf_store(nf, 0x38, 4, 0);
	nf_run(nf);
	assert_true(is_done(nf, RX_RING, RING - 1));
}

static void test_link(void **state)
{
	struct nic_fixture *nf = *state;

	nf_link(nf, false);
	assert_int_equal(nf_load(nf, 0x04, 4), 0);
	assert_int_equal(nf_load(nf, 0x08, 4), 4);
	assert_true(nf_irq(nf));
	nf_link(nf, true);
	assert_int_equal(nf_load(nf, 0x04, 4), 1);
}

/* A driver that means ill: nothing is sent, nothing is written to where it doesn't belong. */
static void test_hostile(void **state)
{
	struct nic_fixture *nf = *state;
	uint8_t frame[64];

	make_frame(frame, sizeof(frame), mac);
	nf_store(nf, 0x28, 4, RING); /* a tail outside of the ring */
	put_desc(nf, TX_RING, 0, NF_RAM_SIZE - 8, 100);
	nf_store(nf, 0x28, 4, 1); /* a buffer that goes on behind RAM's end */
	assert_int_equal(counter_get(&nf->nic->counters.tx_bad), 1);
	nf_store(nf, 0x20, 4, 0xfffffff0); /* a ring behind RAM's end */
	nf_store(nf, 0x24, 4, 256);
	nf_store(nf, 0x28, 4, 255);
	put_desc(nf, RX_RING, 0, NF_MMIO_BASE, 0x1000); /* the card's own registers as a buffer */
	nf_rx(nf, frame, sizeof(frame));
	nf_store(nf, 0x34, 4, 100000); /* a ring that is too long */
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_more, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
