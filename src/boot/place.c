/*
 * Where things go in guest RAM: checks for what a kernel asks, places for what may go anywhere.
 *
 * RAM is the usable entries of the memory map, less boot's own tables in low memory and the spans
 * that are taken. All on the control thread, before the guest runs.
 */
#include "boot/loader.h"

#include <errno.h>

#include "bus/pc.h"

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* The usable entry that holds all of [gpa, gpa+size), NULL = none. */
static const struct memmap_entry *usable(const struct boot *boot, uint64_t gpa, uint64_t size)
{
	for (unsigned int i = 0; i < boot->map.n; i++) {
		const struct memmap_entry *e = &boot->map.entry[i];

		if (e->type == MEMMAP_USABLE && gpa >= e->address && gpa - e->address <= e->size &&
		    size <= e->size - (gpa - e->address))
			return e;
	}
	return NULL;
}

/* What is in the way of [gpa, gpa+size): boot's tables or a span. False: nothing is. */
static bool taken(const struct boot *boot, uint64_t gpa, uint64_t size, uint64_t *start,
		  uint64_t *end)
{
	*start = BOOT_GDT;
	*end = BOOT_TABLES_END;
	if (overlap(gpa, size, *start, *end - *start))
		return true;
	for (unsigned int i = 0; i < boot->n_spans; i++) {
		*start = boot->span[i].gpa;
		*end = *start + boot->span[i].size;
		if (overlap(gpa, size, *start, *end - *start))
			return true;
	}
	return false;
}

uint64_t boot_low_ram_end(const struct boot *boot)
{
	for (unsigned int i = 0; i < boot->map.n; i++) {
		const struct memmap_entry *e = &boot->map.entry[i];

		if (e->type == MEMMAP_USABLE && e->address == PC_BIOS_END)
			return e->address + e->size;
	}
	return PC_BIOS_END;
}

int boot_span_add(struct boot *boot, const struct boot_span *span, struct err *err)
{
	unsigned long long from = span->gpa, to = span->gpa + span->size;
	uint64_t ram_end = boot_low_ram_end(boot);

	if (span->size == 0)
		return 0;
	if (boot->n_spans == BOOT_SPANS_MAX)
		return err_set(err, -E2BIG, "%s: more than %d segments (is it a kernel?)",
			       boot->kernel.option, BOOT_SPANS_MAX);
	if (to < from)
		return err_set(err, -EINVAL, "%s: segment of 0x%llx bytes at 0x%llx wraps",
			       boot->kernel.option, (unsigned long long)span->size, from);
	if (overlap(from, span->size, BOOT_GDT, BOOT_TABLES_END - BOOT_GDT))
		return err_set(
			err, -EINVAL,
			"%s: loads at 0x%llx-0x%llx, over the boot tables at 0x%x-0x%x (link "
			"it to run from 1 MiB on)",
			boot->kernel.option, from, to, BOOT_GDT, BOOT_TABLES_END);
	if (!usable(boot, from, span->size)) {
		if (from >= PC_BIOS_END && to > ram_end && to <= PC_RAM_HOLE)
			return err_set(err, -ENOMEM,
				       "%s: needs RAM up to %llu MiB, the guest's ends at %llu MiB "
				       "(give it more with -m)",
				       boot->kernel.option, (to + (1 << 20) - 1) >> 20,
				       (unsigned long long)ram_end >> 20);
		return err_set(err, -EINVAL, "%s: loads at 0x%llx-0x%llx, where no RAM is",
			       boot->kernel.option, from, to);
	}
	boot->span[boot->n_spans++] = *span;
	return 0;
}

uint64_t boot_find_ram(const struct boot *boot, uint64_t from, uint64_t size, uint64_t align,
		       uint64_t limit)
{
	for (unsigned int i = 0; i < boot->map.n; i++) {
		const struct memmap_entry *e = &boot->map.entry[i];
		uint64_t at = e->address > from ? e->address : from, start, end;

		if (e->type != MEMMAP_USABLE)
			continue;
		for (;;) {
			at = (at + align - 1) & ~(align - 1);
			if (at < from || !usable(boot, at, size) || at + size > limit)
				break;
			if (!taken(boot, at, size, &start, &end))
				return at;
			at = end;
		}
	}
	return 0;
}

uint64_t boot_find_ram_high(const struct boot *boot, uint64_t from, uint64_t size, uint64_t align,
			    uint64_t limit)
{
	for (unsigned int i = boot->map.n; i-- > 0;) {
		const struct memmap_entry *e = &boot->map.entry[i];
		uint64_t lowest = e->address > from ? e->address : from;
		uint64_t top = e->address + e->size < limit ? e->address + e->size : limit;
		uint64_t start, end;

		if (e->type != MEMMAP_USABLE)
			continue;
		while (top >= lowest && top - lowest >= size) {
			uint64_t at = (top - size) & ~(align - 1);

			if (at < lowest)
				break;
			if (!taken(boot, at, size, &start, &end))
				return at;
			top = start;
		}
	}
	return 0;
}
