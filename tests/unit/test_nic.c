/*
 * What every emulated NIC has from dev/nic.c, seen through one card or another: the ways in which a back end fails
 * it, and what it takes to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "e1000_fixture.h"

static const uint8_t to_one[6] = {0x52, 0x54, 0, 1, 2, 3};

static void put_frame(struct e_driver *d, uint32_t len)
{
	e_frame(d, E_TXBUF, len, to_one);
	e_tx_put(d, E_TXBUF, len | E_CMD(E_EOP));
	e_tx_go(d);
}

/* A frame that waits for room when the back end goes for ever is lost, and its descriptor the driver's again. */
static void test_gone_while_sending(void **state)
{
	struct e_driver *d = e_new();

	nf_full(d->nf, true);
	put_frame(d, 60);
	nf_run(d->nf);
	assert_false(e_tx_is_done(d, 0));
	d->nf->fake.gone = true;
	nf_run(d->nf);
	assert_true(e_tx_is_done(d, 0));
	assert_int_equal(d->nf->nic->fd.events, 0);
	assert_int_equal(counter_get(&d->nf->nic->counters.tx_no_cable), 1);
	/* So is the next. */
	put_frame(d, 60);
	nf_run(d->nf);
	assert_true(e_tx_is_done(d, 1));
	e_free(d);
}

/* The same where the loop says so, and reading doesn't. */
static void test_error_while_sending(void **state)
{
	struct e_driver *d = e_new();
	struct nic *nic = d->nf->nic;

	nf_full(d->nf, true);
	put_frame(d, 60);
	nf_run(d->nf);
	nic->fd.ready(&nic->fd, EPOLLERR);
	nf_run(d->nf);
	assert_true(e_tx_is_done(d, 0));
	assert_int_equal(nic->fd.events, 0);
	e_free(d);
}

/* Of a frame that was cut here, a part is out when the cable is: the next frame goes out whole. */
static void test_unplugged_between_segments(void **state)
{
	struct e_driver *d = e_new_with(true, 0, "mac=52:54:00:aa:bb:cc,netdev=n0");

	nf_full(d->nf, true);
	put_frame(d, 60);
	nf_run(d->nf);
	d->nf->fake.queue.segments_sent = 3;
	nf_link(d->nf, false);
	nf_full(d->nf, false);
	nf_run(d->nf);
	assert_true(e_tx_is_done(d, 0));
	assert_int_equal(d->nf->fake.queue.segments_sent, 0);
	assert_int_equal(nf_n_sent(d->nf), 0);
	e_free(d);
}

/* Who waits for the lock at a register is seen by the I/O thread, whatever the BAR is made of. */
static void test_waiters(void **state)
{
	static const char *const models[] = {"e1000", "rtl8139", "pcnet", "ne2k_pci", "i82551"};

	for (unsigned int i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		struct nic_fixture *nf = nf_new(models[i], "netdev=n0");
		struct pci_device *pci = pci_of(nf->dev);

		for (unsigned int bar = 0; bar < PCI_BAR_ROM; bar++)
			for (unsigned int k = 0; k < pci->bar[bar].n_regions; k++)
				assert_ptr_equal(pci->bar[bar].regions[k]->waiters,
						 &nf->dev->waiters);
		nf_free(nf);
	}
}

/* What the back end was told. */
static uint8_t told[6];
static unsigned int n_told;

static int take_mac(struct net_backend *net, const uint8_t mac[6], struct err *err)
{
	memcpy(told, mac, 6);
	n_told++;
	return 0;
}

/* The back end knows the card's address, also one that the driver gives it. */
static void test_address(void **state)
{
	static const uint8_t other[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
	struct net_backend_ops ops = fake_ops;
	struct e_driver *d = e_new();
	struct nic_fixture *nf;

	ops.set_mac = take_mac;
	d->nf->fake.net.ops = &ops;
	n_told = 0;
	e_store(d, 0x5404, 0); /* RAH0 without AV: no address */
	e_store(d, 0x5400, 0x33221102);
	assert_int_equal(n_told, 0);
	e_store(d, 0x5404, 0x80005544);
	assert_int_equal(n_told, 1);
	assert_memory_equal(told, other, 6);
	e_store(d, 0x5404, 0x80005544);
	assert_int_equal(n_told, 1);
	/* a group's is none */
	e_store(d, 0x5400, 0x33221103);
	assert_int_equal(n_told, 1);
	e_free(d);

	nf = nf_new("rtl8139", "netdev=n0");
	nf->fake.net.ops = &ops;
	nf_out(nf, 0x50, 1, 0xc0); /* CR9346: configuration may be written */
	nf_out(nf, 0x00, 4, 0x33221102);
	nf_out(nf, 0x04, 4, 0x5544);
	assert_memory_equal(told, other, 6);
	nf_free(nf);
}

/* The back end's own cable is the card's. */
static void test_carrier(void **state)
{
	struct e_driver *d = e_new();
	struct nic *nic = d->nf->nic;

	assert_true(nic->link);
	net_set_carrier(&d->nf->fake.net, false);
	assert_false(nic->link);
	/* both have to be in */
	nf_link(d->nf, false);
	net_set_carrier(&d->nf->fake.net, true);
	assert_false(nic->link);
	nf_link(d->nf, true);
	assert_true(nic->link);
	e_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gone_while_sending),
		cmocka_unit_test(test_error_while_sending),
		cmocka_unit_test(test_unplugged_between_segments),
		cmocka_unit_test(test_waiters),
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_carrier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
