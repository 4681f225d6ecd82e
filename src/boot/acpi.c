/*
 * See acpi.h. Section numbers are those of ACPI 6.4. Control thread; the buffer is the caller's.
 *
 * Tables are packed structs filled in place; a table is opened, filled, and closed, which sets its
 * length and checksum. Everything is little-endian, as this processor is.
 */
#include "boot/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot/aml.h"
#include "boot/embed.h"
#include "bus/pc.h"

#define PACKED __attribute__((packed))

struct rsdp { /* §5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_address;
	uint32_t length;
	uint64_t xsdt_address;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} PACKED;

struct header { /* §5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

struct gas { /* §5.2.3.2, generic address */
	uint8_t space, bit_width, bit_offset, access_size;
	uint64_t address;
} PACKED;

#define GAS_SYSTEM_IO 1
#define GAS_BYTE      1
#define GAS_WORD      2
#define GAS_DWORD     3

struct fadt { /* §5.2.9, as of revision 4 */
	struct header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved1;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk;
	uint32_t pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint8_t reserved3[3];
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk;
	struct gas x_pm2_cnt_blk, x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
} PACKED;
_Static_assert(sizeof(struct fadt) == 244, "ACPI 4.0 §5.2.9");

#define FADT_REVISION	     4
#define FADT_P_LVL2_NONE     101      /* above 100 us: no C2 */
#define FADT_P_LVL3_NONE     1001     /* above 1000 us: no C3 */
#define FADT_LEGACY_DEVICES  (1 << 0) /* iapc_boot_arch */
#define FADT_8042	     (1 << 1)
#define FADT_VGA_NOT_PRESENT (1 << 2)
#define FADT_WBINVD	     (1 << 0) /* flags */
#define FADT_PROC_C1	     (1 << 2)
#define FADT_SLP_BUTTON \
	(1 << 5) /* no fixed sleep button; a clear bit 4 says: a fixed power button */
#define FADT_FIX_RTC	   (1 << 6) /* RTC wake status is not in the fixed registers */
#define FADT_RESET_REG_SUP (1 << 10)

struct facs { /* §5.2.10 */
	char signature[4];
	uint32_t length, hardware_signature, firmware_waking_vector, global_lock, flags;
	uint64_t x_firmware_waking_vector;
	uint8_t version, reserved[31];
} PACKED;
_Static_assert(sizeof(struct facs) == 64, "§5.2.10");

struct madt { /* §5.2.12 */
	struct header header;
	uint32_t local_apic_address, flags;
} PACKED;

#define MADT_PCAT_COMPAT  1 /* there are 8259s too */
#define MADT_ENABLED	  1
#define MADT_ACTIVE_HIGH  0x1 /* MPS INTI flags, §5.2.12.5 */
#define MADT_LEVEL	  0xc
#define MADT_ALL_UIDS	  0xff
#define APIC_ID_BROADCAST 0xff

struct madt_lapic { /* type 0 */
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} PACKED;

struct madt_ioapic { /* type 1 */
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} PACKED;

struct madt_override { /* type 2 */
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} PACKED;

struct madt_lapic_nmi { /* type 4 */
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;

struct madt_x2apic { /* type 9 */
	uint8_t type, length;
	uint16_t reserved;
	uint32_t x2apic_id, flags, uid;
} PACKED;

struct madt_x2apic_nmi { /* type 10 */
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
} PACKED;

#define VDEV_KEYBOARD (1 << 4) /* \VDEV, see dsdt.asl */

/* ---- the buffer ---- */

struct tables {
	uint8_t *buf;
	size_t size, len;
	uint64_t base;
	bool full;
};

/* n zero bytes, aligned; NULL when there is no room. */
static void *take(struct tables *t, size_t n, size_t align)
{
	size_t at = (t->len + align - 1) & ~(align - 1);

	if (t->full || at > t->size || n > t->size - at) {
		t->full = true;
		return NULL;
	}
	memset(t->buf + t->len, 0, at + n - t->len);
	t->len = at + n;
	return t->buf + at;
}

static uint32_t address_of(const struct tables *t, const void *p)
{
	return p ? t->base + ((const uint8_t *)p - t->buf) : 0;
}

static uint8_t checksum(const void *p, size_t n)
{
	const uint8_t *byte = p;
	uint8_t sum = 0;

	while (n--)
		sum += *byte++;
	return -sum;
}

/* Opens a table of `size` bytes, header included, to which more may be appended with take(t, n, 1).
 */
static void *open_table(struct tables *t, const char *signature, uint8_t revision, size_t size)
{
	struct header *h = take(t, size, 16);

	if (!h)
		return NULL;
	memcpy(h->signature, signature, 4);
	h->revision = revision;
	memcpy(h->oem_id, "VIREO ", 6);
	memcpy(h->oem_table_id, "VIREO   ", 8);
	memcpy(h->oem_table_id + 5, signature, 3);
	h->oem_revision = 1;
	memcpy(h->creator_id, "VREO", 4);
	h->creator_revision = 1;
	return h;
}

static void close_table(struct tables *t, struct header *h)
{
	if (t->full)
		return;
	h->length = t->buf + t->len - (uint8_t *)h;
	h->checksum = checksum(h, h->length);
}

/* ---- the tables ---- */

static struct gas io(uint16_t port, uint8_t bytes, uint8_t access)
{
	return (struct gas){GAS_SYSTEM_IO, bytes * 8, 0, access, port};
}

static void *add_facs(struct tables *t)
{
	struct facs *facs = take(t, sizeof(*facs), 64);

	if (facs) {
		memcpy(facs->signature, "FACS", 4);
		facs->length = sizeof(*facs);
		facs->version = 2;
	}
	return facs;
}

static void *add_dsdt(struct tables *t)
{
	size_t size = embed_dsdt_end - embed_dsdt;
	void *dsdt = take(t, size, 16);

	if (dsdt)
		memcpy(dsdt, embed_dsdt, size);
	return dsdt;
}

static void *add_fadt(struct tables *t, const struct acpi_config *config, const void *facs,
		      const void *dsdt)
{
	struct fadt *f = open_table(t, "FACP", FADT_REVISION, sizeof(*f));

	if (!f)
		return NULL;
	f->firmware_ctrl = address_of(t, facs);
	f->dsdt = f->x_dsdt = address_of(t, dsdt);
	f->sci_int = PC_IRQ_SCI;
	f->pm1a_evt_blk = PC_PM1_EVT;
	f->pm1a_cnt_blk = PC_PM1_CNT;
	f->pm_tmr_blk = PC_PM_TMR;
	f->gpe0_blk = PC_GPE0;
	f->pm1_evt_len = 4;
	f->pm1_cnt_len = 2;
	f->pm_tmr_len = 4;
	f->gpe0_blk_len = PC_GPE0_SIZE;
	f->p_lvl2_lat = FADT_P_LVL2_NONE;
	f->p_lvl3_lat = FADT_P_LVL3_NONE;
	f->century = PC_CMOS_CENTURY;
	f->iapc_boot_arch = FADT_LEGACY_DEVICES | FADT_VGA_NOT_PRESENT;
	if (config->keyboard)
		f->iapc_boot_arch |= FADT_8042;
	f->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP;
	f->reset_reg = io(PC_PORT_RESET, 1, GAS_BYTE);
	f->reset_value = PC_RESET_VALUE;
	f->x_pm1a_evt_blk = io(PC_PM1_EVT, 4, GAS_WORD);
	f->x_pm1a_cnt_blk = io(PC_PM1_CNT, 2, GAS_WORD);
	f->x_pm_tmr_blk = io(PC_PM_TMR, 4, GAS_DWORD);
	f->x_gpe0_blk = io(PC_GPE0, PC_GPE0_SIZE, GAS_BYTE);
	close_table(t, &f->header);
	return f;
}

static uint32_t apic_id(const struct acpi_config *config, unsigned int cpu)
{
	return config->apic_ids ? config->apic_ids[cpu] : cpu;
}

/* Ids from 255 on, and UIDs that the old form has no room for, take the x2APIC form. True: one did.
 */
static bool add_processors(struct tables *t, const struct acpi_config *config)
{
	bool any_x2apic = false;

	for (unsigned int i = 0; i < config->cpus; i++) {
		uint32_t id = apic_id(config, i);

		if (id < APIC_ID_BROADCAST && i < MADT_ALL_UIDS) {
			struct madt_lapic *l = take(t, sizeof(*l), 1);

			if (l)
				*l = (struct madt_lapic){0, sizeof(*l), i, id, MADT_ENABLED};
		} else {
			struct madt_x2apic *x = take(t, sizeof(*x), 1);

			any_x2apic = true;
			if (x)
				*x = (struct madt_x2apic){9, sizeof(*x), 0, id, MADT_ENABLED, i};
		}
	}
	return any_x2apic;
}

static void add_override(struct tables *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	struct madt_override *o = take(t, sizeof(*o), 1);

	if (o)
		*o = (struct madt_override){2, sizeof(*o), 0, irq, gsi, flags};
}

/* The SCI and what the PCI links can choose are level-triggered; KVM's IOAPIC has no inverters
 * before it. */
static void *add_madt(struct tables *t, const struct acpi_config *config)
{
	static const uint8_t level_irqs[] = {5, PC_IRQ_SCI, 10, 11};
	struct madt *madt = open_table(t, "APIC", 3, sizeof(*madt));
	struct madt_ioapic *ioapic;
	struct madt_lapic_nmi *nmi;
	struct madt_x2apic_nmi *x2nmi;
	bool any_x2apic = add_processors(t, config);

	ioapic = take(t, sizeof(*ioapic), 1);
	if (ioapic)
		*ioapic = (struct madt_ioapic){1, sizeof(*ioapic), 0, 0, PC_IOAPIC_BASE, 0};
	add_override(t, 0, PC_GSI_TIMER, 0);
	for (size_t i = 0; i < sizeof(level_irqs); i++)
		add_override(t, level_irqs[i], level_irqs[i], MADT_ACTIVE_HIGH | MADT_LEVEL);
	nmi = take(t, sizeof(*nmi), 1);
	if (nmi)
		*nmi = (struct madt_lapic_nmi){4, sizeof(*nmi), MADT_ALL_UIDS, 0, 1};
	if (any_x2apic) {
		x2nmi = take(t, sizeof(*x2nmi), 1);
		if (x2nmi)
			*x2nmi =
				(struct madt_x2apic_nmi){10, sizeof(*x2nmi), 0, UINT32_MAX, 1, {0}};
	}
	if (t->full)
		return NULL;
	madt->local_apic_address = PC_LAPIC_BASE;
	madt->flags = MADT_PCAT_COMPAT;
	close_table(t, &madt->header);
	return madt;
}

static void *add_ssdt(struct tables *t, const struct acpi_config *config)
{
	struct header *h = open_table(t, "SSDT", 2, sizeof(*h));
	struct aml aml = {.buf = t->buf + t->len, .size = t->size - t->len};
	struct aml_block scope;
	uint32_t present = config->serial_ports & 0xf;

	if (!h)
		return NULL;
	if (config->keyboard)
		present |= VDEV_KEYBOARD;
	aml_name_integer(&aml, "\\VDEV", present);
	scope = aml_scope(&aml, "\\_SB");
	for (unsigned int i = 0; i < config->cpus; i++) {
		struct aml_block device;
		char name[5];

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		device = aml_device(&aml, name);
		aml_name_string(&aml, "_HID", "ACPI0007");
		aml_name_integer(&aml, "_UID", i);
		aml_end(&aml, device);
	}
	aml_end(&aml, scope);
	t->full |= aml.full;
	t->len += aml.len;
	close_table(t, h);
	return h;
}

long acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *buf, size_t size)
{
	struct tables t = {.buf = buf, .size = size, .base = base};
	struct rsdp *rsdp = take(&t, sizeof(*rsdp), 16);
	void *facs = add_facs(&t), *dsdt = add_dsdt(&t), *table[3];
	const size_t n = sizeof(table) / sizeof(table[0]);
	struct header *rsdt, *xsdt;

	if (config->cpus == 0 || config->cpus > ACPI_CPUS_MAX || base % 64 ||
	    base + size > UINT32_MAX)
		return -EINVAL;
	table[0] = add_fadt(&t, config, facs, dsdt);
	table[1] = add_madt(&t, config);
	table[2] = add_ssdt(&t, config);
	rsdt = open_table(&t, "RSDT", 1, sizeof(*rsdt) + n * sizeof(uint32_t));
	if (rsdt)
		for (size_t i = 0; i < n; i++) {
			uint32_t address = address_of(&t, table[i]);

			memcpy((uint8_t *)(rsdt + 1) + i * sizeof(address), &address,
			       sizeof(address));
		}
	close_table(&t, rsdt);
	xsdt = open_table(&t, "XSDT", 1, sizeof(*xsdt) + n * sizeof(uint64_t));
	if (xsdt)
		for (size_t i = 0; i < n; i++) {
			uint64_t address = address_of(&t, table[i]);

			memcpy((uint8_t *)(xsdt + 1) + i * sizeof(address), &address,
			       sizeof(address));
		}
	close_table(&t, xsdt);
	if (t.full)
		return -ENOSPC;
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "VIREO ", 6);
	rsdp->revision = 2;
	rsdp->rsdt_address = address_of(&t, rsdt);
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt_address = address_of(&t, xsdt);
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return t.len;
}
