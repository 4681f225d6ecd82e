/*
 * ELF kernels: program headers to spans, and the PVH note.
 *
 * Sources: System V ABI, chapter 5 (program headers, notes); Xen's public/elfnote.h
 * (XEN_ELFNOTE_PHYS32_ENTRY). Little-endian, 32 or 64 bit, for x86. Sections, relocations and
 * symbols are not looked at. Every number of the file is checked against the file before it is
 * used.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot/loader.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTE_SEGMENT_MAX	 0x100000 /* notes are small; more is no kernel's */

/* What both classes of ELF header say, in one form. */
struct elf_info {
	uint64_t entry, phoff;
	unsigned int phentsize, phnum;
	bool is_64;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool elf_match(const struct boot *boot)
{
	return boot->head_len >= sizeof(Elf32_Ehdr) && !memcmp(boot->head, ELFMAG, SELFMAG);
}

static int read_header(const struct boot *boot, struct elf_info *info, struct err *err)
{
	const uint8_t class = boot->head[EI_CLASS];
	uint16_t machine;

	info->is_64 = class == ELFCLASS64;
	if (info->is_64) {
		Elf64_Ehdr h;

		memcpy(&h, boot->head, sizeof(h)); /* the head's rest is zero in a short file */
		machine = h.e_machine;
		*info = (struct elf_info){h.e_entry, h.e_phoff, h.e_phentsize, h.e_phnum, true};
	} else {
		Elf32_Ehdr h;

		memcpy(&h, boot->head, sizeof(h));
		machine = h.e_machine;
		*info = (struct elf_info){h.e_entry, h.e_phoff, h.e_phentsize, h.e_phnum, false};
	}
	if ((class != ELFCLASS64 && class != ELFCLASS32) || boot->head[EI_DATA] != ELFDATA2LSB ||
	    (machine != EM_X86_64 && machine != EM_386))
		return err_set(err, -EINVAL,
			       "%s: an ELF file for another processor (machine %u); a kernel for "
			       "x86 is needed",
			       boot->kernel.option, machine);
	if (info->phentsize != (info->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    info->phnum == 0)
		return err_set(err, -EINVAL,
			       "%s: an ELF file without program headers (an object file? link it)",
			       boot->kernel.option);
	return 0;
}

static int read_segment(const struct boot *boot, const struct elf_info *info, unsigned int i,
			struct elf_segment *s, struct err *err)
{
	uint64_t at = info->phoff + (uint64_t)i * info->phentsize;
	int rc;

	if (at < info->phoff)
		at = UINT64_MAX; /* wraps: past any file's end */
	if (info->is_64) {
		Elf64_Phdr p;

		rc = image_read(&boot->kernel, at, &p, sizeof(p), err);
		if (rc == 0)
			*s = (struct elf_segment){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
						  p.p_filesz, p.p_memsz,  p.p_align};
	} else {
		Elf32_Phdr p;

		rc = image_read(&boot->kernel, at, &p, sizeof(p), err);
		if (rc == 0)
			*s = (struct elf_segment){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
						  p.p_filesz, p.p_memsz,  p.p_align};
	}
	return rc;
}

int elf_plan(struct boot *boot, uint64_t *entry, struct err *err)
{
	struct elf_info info;
	int rc = read_header(boot, &info, err);

	if (rc < 0)
		return rc;
	*entry = info.entry;
	for (unsigned int i = 0; i < info.phnum; i++) {
		struct elf_segment s;

		rc = read_segment(boot, &info, i, &s, err);
		if (rc)
			return rc;
		if (s.type != PT_LOAD)
			continue;
		if (s.filesz > s.memsz || s.offset > boot->kernel.size ||
		    s.filesz > boot->kernel.size - s.offset)
			return err_set(err, -EINVAL,
				       "%s: cut short or broken: segment %u is not in the file",
				       boot->kernel.option, i);
		rc = boot_span_add(boot,
				   &(struct boot_span){.gpa = s.paddr,
						       .size = s.memsz,
						       .file_offset = s.offset,
						       .file_size = s.filesz},
				   err);
		if (rc < 0)
			return rc;
		if (info.entry >= s.vaddr && info.entry - s.vaddr < s.memsz)
			*entry = info.entry - s.vaddr + s.paddr;
	}
	if (boot->n_spans == 0)
		return err_set(err, -EINVAL, "%s: an ELF file with nothing to load",
			       boot->kernel.option);
	return 0;
}

static uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Looks through the notes of one segment. 1 found, 0 not, -errno. All sums stay small: a segment
 * has NOTE_SEGMENT_MAX bytes at most, and a note's sizes are 32 bits. */
static int find_note(const struct boot *boot, const struct elf_segment *s, uint64_t *entry,
		     struct err *err)
{
	uint64_t align = s->align == 8 ? 8 : 4, at = 0;

	if (s->filesz > NOTE_SEGMENT_MAX)
		return 0;
	while (at + sizeof(Elf32_Nhdr) <= s->filesz) {
		Elf32_Nhdr note; /* the same in both classes */
		uint64_t name_at = at + sizeof(note), desc_at;
		uint8_t value[8] = {0};
		char name[4];
		int rc;

		rc = image_read(&boot->kernel, s->offset + at, &note, sizeof(note), err);
		if (rc < 0)
			return rc;
		desc_at = align_up(name_at + note.n_namesz, align);
		at = align_up(desc_at + note.n_descsz, align);
		if (note.n_type != XEN_ELFNOTE_PHYS32_ENTRY || note.n_namesz != sizeof(name) ||
		    (note.n_descsz != 4 && note.n_descsz != 8))
			continue;
		rc = image_read(&boot->kernel, s->offset + name_at, name, sizeof(name), err);
		if (rc == 0)
			rc = image_read(&boot->kernel, s->offset + desc_at, value, note.n_descsz,
					err);
		if (rc < 0)
			return rc;
		if (memcmp(name, "Xen", sizeof(name)))
			continue;
		memcpy(entry, value, sizeof(*entry));
		return 1;
	}
	return 0;
}

int elf_pvh_entry(const struct boot *boot, uint64_t *entry, struct err *err)
{
	struct elf_info info;
	int rc = read_header(boot, &info, err);

	for (unsigned int i = 0; rc == 0 && i < info.phnum; i++) {
		struct elf_segment s;

		rc = read_segment(boot, &info, i, &s, err);
		if (rc == 0 && s.type == PT_NOTE)
			rc = find_note(boot, &s, entry, err);
	}
	return rc;
}
