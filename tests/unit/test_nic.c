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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gone_while_sending),
		cmocka_unit_test(test_error_while_sending),
		cmocka_unit_test(test_unplugged_between_segments),
		cmocka_unit_test(test_waiters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
