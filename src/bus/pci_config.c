/*
 * A PCI function's configuration space: header, command register, BARs, expansion ROM,
 * capabilities. PCI Local Bus 3.0 §6.1-6.2 (header), §6.2.5 (base addresses), §6.3 (ROM), §6.7
 * (capabilities).
 *
 * config[] holds the registers as bytes; wmask[] says which bits the guest writes, w1cmask[] which
 * ones a 1 clears. A BAR is sized by its wmask: the bits below its size don't exist. After every
 * write the regions of a BAR are where the registers say, or nowhere; all of that happens under the
 * device's lock, on the thread that wrote.
 *
 * A BAR decodes only where it makes sense: not at address 0, not beyond its space, and no memory
 * BAR that ends at 4 GiB, because that is what a BAR reads while a driver that left decoding on
 * finds out its size.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/msi.h"
#include "bus/msix.h"
#include "bus/pci.h"
#include "bus/pci_internal.h"

#define BAR_IO_SPACE	 0x1
#define BAR_64BIT	 0x4
#define BAR_PREFETCHABLE 0x8
#define BAR_IO_FLAGS	 0x3
#define BAR_MEM_FLAGS	 0xf
#define ROM_FLAGS	 0x7ff
#define ROM_SIZE_MIN	 2048
#define ROM_SIZE_MAX	 (UINT32_C(16) << 20) /* PCI 3.0 §6.2.5.2 */
#define FOUR_GIB	 (UINT64_C(1) << 32)
#define MEM_END		 (UINT64_C(1) << 52) /* physical addresses end here on x86 */

const struct opt_desc pci_device_opts[] = {
	{.name = "addr",
	 .type = OPT_STRING,
	 .offset = offsetof(struct pci_device, opt_addr),
	 .help = "PCI address, SLOT or SLOT.FUNCTION in hexadecimal; without it the next free "
		 "slot"},
	{.name = "multifunction",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct pci_device, opt_multifunction),
	 .def = "off",
	 .help = "other functions of this slot may be taken by other devices"},
	{.name = "romfile",
	 .type = OPT_STRING,
	 .offset = offsetof(struct pci_device, opt_romfile),
	 .help = "file with the contents of the expansion ROM; empty: the device has none; not "
		 "given: the usual one for the card, if it is installed"},
	{.name = "rombar",
	 .type = OPT_U32,
	 .offset = offsetof(struct pci_device, opt_rombar),
	 .def = "1",
	 .max = UINT32_MAX,
	 .help = "0 = the device has no expansion ROM"},
	{.type = OPT_END},
};

void pci_header_init(struct pci_device *pci)
{
	const struct pci_identity *id = pci->dev.model->pci;
	uint8_t *c = pci->config;

	pci_put16(c + PCI_VENDOR_ID, id->vendor);
	pci_put16(c + PCI_DEVICE_ID, id->device);
	c[PCI_REVISION_ID] = id->revision;
	c[PCI_CLASS_CODE] = (uint8_t)id->class;
	pci_put16(c + PCI_CLASS_CODE + 1, (uint16_t)(id->class >> 8));
	pci_put16(c + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	pci_put16(c + PCI_SUBSYSTEM_ID, id->subsystem);
	c[PCI_INTERRUPT_PIN] = id->interrupt_pin;
	if (pci->opt_multifunction)
		c[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
	pci->cap_next = PCI_HEADER_END;

	pci_put16(pci->wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
						    PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
						    PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
	pci_put16(pci->w1cmask + PCI_STATUS, PCI_STATUS_W1C);
	pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	pci->wmask[PCI_LATENCY_TIMER] = 0xff;
	pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

/* ---- BARs ---- */

unsigned int pci_bar_register(unsigned int index)
{
	return index == PCI_BAR_ROM ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS + 4 * index;
}

/* The address in the register of a BAR that decodes; 0 = it doesn't. */
static uint64_t bar_decodes_at(const struct pci_device *pci, unsigned int index)
{
	const struct pci_bar *bar = &pci->bar[index];
	const uint8_t *reg = pci->config + pci_bar_register(index);
	uint16_t command = pci_get16(pci->config + PCI_COMMAND);
	uint64_t addr = pci_get32(reg), end;

	if (bar->kind == PCI_BAR_NONE)
		return 0;
	if (bar->kind == PCI_BAR_IO) {
		addr &= ~(uint64_t)BAR_IO_FLAGS;
		return command & PCI_COMMAND_IO && addr + bar->size <= 0x10000 ? addr : 0;
	}
	if (!(command & PCI_COMMAND_MEMORY) || (index == PCI_BAR_ROM && !(addr & PCI_ROM_ENABLE)))
		return 0;
	addr &= ~(uint64_t)(index == PCI_BAR_ROM ? ROM_FLAGS : BAR_MEM_FLAGS);
	if (bar->kind == PCI_BAR_MEM64)
		addr |= (uint64_t)pci_get32(reg + 4) << 32;
	end = addr + bar->size;
	return addr < MEM_END && end <= MEM_END && end != FOUR_GIB ? addr : 0;
}

static void bar_unmap(struct pci_bar *bar)
{
	__atomic_store_n(&bar->mapped, 0, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < bar->n_regions; i++)
		bus_unmap(bar->regions[i]);
}

static void bar_map(struct pci_device *pci, struct pci_bar *bar, uint64_t addr)
{
	for (unsigned int i = 0; i < bar->n_regions; i++) {
		if (bus_map(pci->bus->io, bar->regions[i], addr + bar->offsets[i])) {
			bar_unmap(bar); /* no memory for the table: it doesn't answer */
			return;
		}
	}
	__atomic_store_n(&bar->mapped, addr, __ATOMIC_RELAXED);
}

static void update_bars(struct pci_device *pci)
{
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &pci->bar[i];
		uint64_t addr = bar_decodes_at(pci, i);

		if (addr == bar->mapped)
			continue;
		bar_unmap(bar);
		if (addr)
			bar_map(pci, bar, addr);
	}
}

void pci_unmap_all(struct pci_device *pci)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		bar_unmap(&pci->bar[i]);
}

uint64_t pci_bar_address(const struct pci_device *pci, unsigned int index)
{
	return index < PCI_BARS ? __atomic_load_n(&pci->bar[index].mapped, __ATOMIC_RELAXED) : 0;
}

static bool bar_is_free(const struct pci_device *pci, unsigned int index, enum pci_bar_kind kind)
{
	if (index >= PCI_BARS || kind == PCI_BAR_NONE || pci->bar[index].kind != PCI_BAR_NONE)
		return false;
	if (index == PCI_BAR_ROM)
		return kind == PCI_BAR_MEM32;
	if (index > 0 && index < PCI_BAR_ROM && pci->bar[index - 1].kind == PCI_BAR_MEM64)
		return false; /* the upper half of the one before */
	if (kind == PCI_BAR_MEM64)
		return index < 5 && pci->bar[index + 1].kind == PCI_BAR_NONE;
	return true;
}

int pci_bar_add_space(struct pci_device *pci, unsigned int index, enum pci_bar_kind kind,
		      bool prefetchable, uint64_t size)
{
	struct pci_bar *bar = &pci->bar[index < PCI_BARS ? index : 0];
	unsigned int reg = pci_bar_register(index);
	uint64_t rounded = kind == PCI_BAR_IO ? 4 : index == PCI_BAR_ROM ? ROM_SIZE_MIN : 16;
	uint64_t max = kind == PCI_BAR_IO      ? 0x10000
		       : kind == PCI_BAR_MEM32 ? FOUR_GIB / 2
					       : MEM_END / 2;
	uint32_t flags;

	if (!bar_is_free(pci, index, kind) || !size || size > max)
		return -EINVAL;
	while (rounded < size)
		rounded <<= 1;
	bar->kind = kind;
	bar->prefetchable = prefetchable;
	bar->size = rounded;

	if (index == PCI_BAR_ROM)
		flags = 0;
	else if (kind == PCI_BAR_IO)
		flags = BAR_IO_SPACE;
	else
		flags = (kind == PCI_BAR_MEM64 ? BAR_64BIT : 0) |
			(prefetchable ? BAR_PREFETCHABLE : 0);
	pci_put32(pci->config + reg, flags);
	pci_put32(pci->wmask + reg,
		  (uint32_t) ~(rounded - 1) | (index == PCI_BAR_ROM ? PCI_ROM_ENABLE : 0));
	if (kind == PCI_BAR_MEM64)
		pci_put32(pci->wmask + reg + 4, (uint32_t)(~(rounded - 1) >> 32));
	return 0;
}

int pci_bar_add_region(struct pci_device *pci, unsigned int index, uint64_t offset,
		       struct bus_region *region)
{
	struct pci_bar *bar = &pci->bar[index < PCI_BARS ? index : 0];

	if (index >= PCI_BARS || bar->kind == PCI_BAR_NONE || offset > bar->size ||
	    region->size > bar->size - offset ||
	    (region->space == BUS_PIO) != (bar->kind == PCI_BAR_IO))
		return -EINVAL;
	if (bar->n_regions == sizeof(bar->regions) / sizeof(bar->regions[0]))
		return -ENOSPC;
	if (region->lock == &pci->dev.lock)
		region->waiters = &pci->dev.waiters;
	bar->regions[bar->n_regions] = region;
	bar->offsets[bar->n_regions++] = offset;
	return 0;
}

int pci_bar_add(struct pci_device *pci, unsigned int index, enum pci_bar_kind kind, uint64_t size,
		const char *name, const struct region_ops *ops, void *opaque)
{
	int r = pci_bar_add_space(pci, index, kind, false, size);

	if (r)
		return r;
	bus_region_init(&pci->bar[index].region, name, kind == PCI_BAR_IO ? BUS_PIO : BUS_MMIO,
			size, ops, opaque, &pci->dev.lock);
	return pci_bar_add_region(pci, index, 0, &pci->bar[index].region);
}

/* ---- expansion ROM ---- */

static uint64_t rom_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct pci_device *pci = opaque;
	uint64_t value = 0;

	if (!pci->rom)
		return UINT64_MAX;
	memcpy(&value, pci->rom + offset, size);
	return value;
}

static void rom_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	/* read-only */
}

static const struct region_ops rom_ops = {
	.read = rom_read,
	.write = rom_write,
	.min = 1,
	.max = 8,
};

/* Reads the whole file into pci->rom, padded with ones to a power of two; returns that size in
 * bytes or -errno. */
static int64_t rom_load(struct pci_device *pci, int fd)
{
	uint64_t size = ROM_SIZE_MIN;
	struct stat st;
	ssize_t n = 1;
	off_t done = 0;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 1)
		return -EINVAL;
	if (st.st_size > (off_t)ROM_SIZE_MAX)
		return -EFBIG;
	while (size < (uint64_t)st.st_size)
		size <<= 1;
	pci->rom = malloc(size);
	if (!pci->rom)
		return -ENOMEM;
	memset(pci->rom, 0xff, size);
	while (done < st.st_size && n > 0) {
		n = pread(fd, pci->rom + done, (size_t)(st.st_size - done), done);
		done += n;
	}
	return n < 0 ? -errno : (int64_t)size;
}

/* Opens a ROM file: a plain name that isn't in the current folder is looked for where distributions put
 * the ROMs of emulated cards. A file descriptor or -errno. */
static int rom_open(const char *name)
{
	static const char *const folders[] = {"/usr/lib/ipxe/qemu", "/usr/share/qemu"};
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	char path[256];

	for (size_t i = 0; fd < 0 && !strchr(name, '/') && i < sizeof(folders) / sizeof(folders[0]);
	     i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* Loads the file; 0 with its BAR's size, or -errno. */
static int rom_read_file(struct pci_device *pci, const char *name, uint64_t *size)
{
	int fd = rom_open(name);
	int64_t r = fd < 0 ? fd : rom_load(pci, fd);

	if (fd >= 0)
		close(fd);
	if (r < 0) {
		pci_rom_free(pci);
		return (int)r;
	}
	*size = (uint64_t)r;
	return 0;
}

int pci_rom_init(struct pci_device *pci, struct err *err)
{
	const char *usual = pci->dev.model->pci->rom;
	uint64_t size = pci->rom_window;
	int r = 0;

	if (!pci->opt_rombar)
		return 0;
	if (pci->opt_romfile && !pci->opt_romfile[0])
		return 0;
	if (pci->opt_romfile)
		r = rom_read_file(pci, pci->opt_romfile, &size);
	else if (usual)
		rom_read_file(pci, usual, &size); /* not installed: no ROM */
	if (r)
		return err_set(err, r,
			       "%s: romfile=%s: %s (a file of 1 byte to 16 MiB is needed; "
			       "romfile= for none)",
			       pci->dev.id, pci->opt_romfile, strerror(-r));
	if (!size)
		return 0;
	r = pci_bar_add(pci, PCI_BAR_ROM, PCI_BAR_MEM32, size, "pci.rom", &rom_ops, pci);
	if (r) {
		pci_rom_free(pci);
		return err_set(err, r, "%s: its expansion ROM can't be made", pci->dev.id);
	}
	return 0;
}

void pci_rom_free(struct pci_device *pci)
{
	free(pci->rom);
	pci->rom = NULL;
}

/* ---- capabilities ---- */

int pci_cap_add(struct pci_device *pci, uint8_t id, uint8_t size)
{
	unsigned int offset = pci->cap_next;
	uint8_t *c = pci->config;

	if (size < 2 || offset + size > PCI_CONFIG_SIZE)
		return -ENOSPC;
	/* In front of the list, as cheap as the end of it. */
	c[offset] = id;
	c[offset + 1] = c[PCI_CAPABILITIES_PTR];
	c[PCI_CAPABILITIES_PTR] = (uint8_t)offset;
	c[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	pci->cap_next = (uint8_t)((offset + size + 3) & ~3U); /* 0 when full: then nothing fits */
	if (!pci->cap_next)
		pci->cap_next = PCI_CONFIG_SIZE - 1;
	return (int)offset;
}

/* ---- accesses ---- */

static bool touches(unsigned int offset, unsigned int size, unsigned int start, unsigned int end)
{
	return offset < end && offset + size > start;
}

static void command_changed(struct pci_device *pci)
{
	bool master = pci_get16(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;

	pci_intx_update(pci);
	if (master == pci->bus_master)
		return;
	__atomic_store_n(&pci->bus_master, master, __ATOMIC_RELAXED);
	if (pci->msix)
		msix_update(pci);
	if (pci->msi)
		msi_update(pci);
	if (pci->bus_master_changed)
		pci->bus_master_changed(pci, master);
}

uint32_t pci_device_config_read(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	uint32_t value = 0;

	if (pci->msi)
		msi_config_read(pci);
	if (pci->config_read)
		pci->config_read(pci, offset, size);
	for (unsigned int i = 0; i < size; i++) {
		uint8_t byte = pci->config[offset + i];

		if (offset + i == PCI_STATUS && __atomic_load_n(&pci->intx_level, __ATOMIC_RELAXED))
			byte |= PCI_STATUS_INTERRUPT;
		value |= (uint32_t)byte << 8 * i;
	}
	return value;
}

void pci_device_config_write(struct pci_device *pci, unsigned int offset, unsigned int size,
			     uint32_t value)
{
	for (unsigned int i = offset; i < offset + size; i++, value >>= 8) {
		uint8_t byte =
			(uint8_t)((pci->config[i] & ~pci->wmask[i]) | (value & pci->wmask[i]));

		byte &= (uint8_t) ~(value & pci->w1cmask[i]);
		__atomic_store_n(&pci->config[i], byte, __ATOMIC_RELAXED); /* intx_drive() looks */
	}
	if (touches(offset, size, PCI_COMMAND, PCI_STATUS) ||
	    touches(offset, size, PCI_BASE_ADDRESS, PCI_BASE_ADDRESS + 24) ||
	    touches(offset, size, PCI_ROM_ADDRESS, PCI_ROM_ADDRESS + 4))
		update_bars(pci);
	if (touches(offset, size, PCI_COMMAND, PCI_STATUS))
		command_changed(pci);
	if (pci->msix)
		msix_config_written(pci, offset, size);
	if (pci->msi)
		msi_config_written(pci, offset, size);
	if (pci->config_written)
		pci->config_written(pci, offset, size);
}

/* Every bit that the guest writes is 0; the model's reset() puts in what its chip has otherwise. */
void pci_device_reset(struct pci_device *pci)
{
	pci_intx_set(pci, false);
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t byte = (uint8_t)(pci->config[i] & ~pci->wmask[i] & ~pci->w1cmask[i]);

		__atomic_store_n(&pci->config[i], byte, __ATOMIC_RELAXED);
	}
	update_bars(pci);
	command_changed(pci);
	if (pci->msix)
		msix_reset(pci);
	if (pci->msi)
		msi_reset(pci);
}
