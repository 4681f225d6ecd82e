/*
 * An emulated NIC under a hostile driver: what the harnesses of all models have in common.
 *
 * Input: operations. The first byte of each says what (low 3 bits) and, where it is an access, the BAR
 * (bit 3: the memory BAR) and the size (bits 4-5):
 *
 *	0-2	write: 2 bytes offset, 4 bytes value
 *	3	read: 2 bytes offset
 *	4	store to RAM: 2 bytes address (times 4), 1 byte length, that many bytes
 *	5	a frame comes in: 2 bytes length, 1 byte: to whom (its low 2 bits)
 *	6	the I/O thread runs
 *	7	configuration space: 1 byte offset, 2 bytes value; or link, bus master, a full back end
 *
 * RAM is small, so that random addresses hit it and its end; what leaves it is the sanitizer's to find.
 */
#ifndef VIREO_TESTS_FUZZ_NIC_FUZZ_H
#define VIREO_TESTS_FUZZ_NIC_FUZZ_H

#ifndef NF_RAM_SIZE
#define NF_RAM_SIZE (256u << 10)
#endif
#include "input.h"
#include "nic_fixture.h"

#define NIC_FUZZ_OPS	2000
#define NIC_FUZZ_FRAMES 9018

static inline void nic_fuzz_write(struct nic_fixture *nf, struct input *in, uint8_t op)
{
	unsigned int size = 1u << (op >> 4 & 3), offset = (unsigned int)input_take(in, 2);
	uint32_t value;

	if (size == 8)
		size = 4;
	value = (uint32_t)input_take(in, 4);
	if (op & 8 && nf->mem_bar >= 0)
		nf_store(nf, offset % pci_of(nf->dev)->bar[nf->mem_bar].size, size, value);
	else if (nf->io_bar >= 0)
		nf_out(nf, offset % (unsigned int)pci_of(nf->dev)->bar[nf->io_bar].size, size,
		       value);
}

static inline void nic_fuzz_read(struct nic_fixture *nf, struct input *in, uint8_t op)
{
	unsigned int size = 1u << (op >> 4 & 3), offset = (unsigned int)input_take(in, 2);

	if (size == 8)
		size = 4;
	if (op & 8 && nf->mem_bar >= 0)
		nf_load(nf, offset % pci_of(nf->dev)->bar[nf->mem_bar].size, size);
	else if (nf->io_bar >= 0)
		nf_in(nf, offset % (unsigned int)pci_of(nf->dev)->bar[nf->io_bar].size, size);
}

static inline void nic_fuzz_store(struct nic_fixture *nf, struct input *in)
{
	uint32_t gpa = (uint32_t)input_take(in, 2) * 4;
	unsigned int len = (unsigned int)input_take(in, 1);

	for (unsigned int i = 0; i < len; i++)
		nf->ram[(gpa + i) % NF_RAM_SIZE] = (uint8_t)input_take(in, 1);
}

static inline void nic_fuzz_receive(struct nic_fixture *nf, struct input *in)
{
	static uint8_t frame[NIC_FUZZ_FRAMES]; /* the same for all: only the destination differs */
	unsigned int len = (unsigned int)input_take(in, 2), to = (unsigned int)input_take(in, 1);

	if (nf->fake.in_end - nf->fake.in_first >= 8)
		return;
	memset(frame, to & 1 ? 0xff : 0x01, 6);
	if (to & 2)
		memcpy(frame, nf->nic->mac, 6);
	nf_rx(nf, frame, len % NIC_FUZZ_FRAMES);
}

static inline void nic_fuzz_other(struct nic_fixture *nf, struct input *in, uint8_t op)
{
	unsigned int offset = (unsigned int)input_take(in, 1),
		     value = (unsigned int)input_take(in, 2);

	if (op & 8)
		nf_link(nf, value & 1);
	else if (op & 0x10)
		nf_full(nf, value & 1);
	else if (offset >= 0x40 || offset == 4)
		nf_config_write(nf, offset & 0xfe, 2, value | (offset == 4 ? 3 : 0));
}

/* At most a second for any operation, which a machine that is busy with others may well take: libFuzzer's
 * own -timeout judges. */
static inline int nic_fuzz_one(const char *model, const char *options, const uint8_t *data,
			       size_t size)
{
	struct nic_fixture *nf = nf_new(model, options);
	struct input in = {data, size};

	for (unsigned int i = 0; in.n && i < NIC_FUZZ_OPS; i++) {
		uint8_t op = (uint8_t)input_take(&in, 1);

		switch (op & 7) {
		case 3:
			nic_fuzz_read(nf, &in, op);
			break;
		case 4:
			nic_fuzz_store(nf, &in);
			break;
		case 5:
			nic_fuzz_receive(nf, &in);
			break;
		case 6:
			nf_run(nf);
			break;
		case 7:
			nic_fuzz_other(nf, &in, op);
			break;
		default:
			nic_fuzz_write(nf, &in, op);
		}
	}
	nf_run(nf);
	nf_free(nf);
	return 0;
}

#define NIC_FUZZ(model, options)                                      \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)  \
	{                                                             \
		return nic_fuzz_one(model, options, data, size);      \
	}

#endif
