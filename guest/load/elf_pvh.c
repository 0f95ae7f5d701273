/* SPDX-License-Identifier: MIT */
/*
 * Loader of ELF kernels (32- and 64-bit) with a PVH entry: an ELF note of owner "Xen", type 18, names it;
 * the kernel begins in 32-bit protected mode without paging, EBX pointing to the start info. Called by
 * load_guest; boot CPU. The protocol: Xen's docs/misc/pvh.pandoc and
 * xen/include/public/arch-x86/hvm/start_info.h; ELF: System V gABI, chapters 4 and 5.
 */
#include <linux/elf-em.h>
#include <linux/elf.h>

#include "guest/load/load.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define NOTE_OWNER          "Xen"
#define NOTE_PHYS32_ENTRY   18
#define PROGRAM_HEADERS_MAX 32
#define NOTES_MAX           64

/* What of a program header counts here, of either class. */
struct segment_header {
    u32 type;
    u64 offset, address, file_size, memory_size, align;
};

struct elf {
    const u8 *file;
    u64 size;
    bool wide; /* ELF64 */
    u64 headers;
    u32 header_count, header_size;
    struct segment_header load[PROGRAM_HEADERS_MAX];
    u32 load_count;
    u64 entry;
    bool entry_found;
    struct load_range memory; /* from the lowest byte of a segment to the highest */
};

/* What the kernel finds at EBX, version 1. */
struct start_info {
    u32 magic, version, flags, module_count;
    u64 modules, cmdline, rsdp, memory_map;
    u32 memory_map_entries, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info, version 1");
_Static_assert(offsetof(struct start_info, memory_map_entries) == 48, "hvm_start_info, version 1");
#define START_INFO_MAGIC   0x336ec578
#define START_INFO_VERSION 1

struct start_module {
    u64 address, size, cmdline, reserved;
};
_Static_assert(sizeof(struct start_module) == 32, "hvm_modlist_entry");

struct start_memory {
    u64 address, size;
    u32 type, reserved;
};
_Static_assert(sizeof(struct start_memory) == 24, "hvm_memmap_table_entry");

/* All of it in one piece of guest memory. */
struct start_block {
    struct start_info info;
    struct start_module initrd;
    struct start_memory memory[GUEST_REGIONS];
};
_Static_assert(LOAD_START_INFO + sizeof(struct start_block) <= LOAD_BOOT_PARAMS,
               "the loaders' own places do not overlap");

bool elf_pvh_matches(const struct boot_file *file)
{
    return file->size >= SELFMAG && !memcmp(file->start, ELFMAG, SELFMAG);
}

/* Copy bytes of the file out; false when they are not all there. */
static bool elf_read(const struct elf *elf, u64 offset, void *to, u64 bytes)
{
    if (offset > elf->size || bytes > elf->size - offset)
        return false;
    memcpy(to, elf->file + offset, bytes);
    return true;
}

static bool elf_open_32(struct elf *elf)
{
    Elf32_Ehdr header;

    if (!elf_read(elf, 0, &header, sizeof(header)) || header.e_phentsize != sizeof(Elf32_Phdr) ||
        (header.e_machine != EM_386 && header.e_machine != EM_486))
        return false;
    elf->headers = header.e_phoff;
    elf->header_count = header.e_phnum;
    elf->header_size = header.e_phentsize;
    return true;
}

static bool elf_open_64(struct elf *elf)
{
    Elf64_Ehdr header;

    if (!elf_read(elf, 0, &header, sizeof(header)) || header.e_phentsize != sizeof(Elf64_Phdr) ||
        header.e_machine != EM_X86_64)
        return false;
    elf->headers = header.e_phoff;
    elf->header_count = header.e_phnum;
    elf->header_size = header.e_phentsize;
    return true;
}

static int elf_open(const struct load *load, struct elf *elf)
{
    u8 ident[EI_NIDENT];
    bool good;

    memset(elf, 0, sizeof(*elf));
    elf->file = load->config->kernel.start;
    elf->size = load->config->kernel.size;
    good = elf_read(elf, 0, ident, sizeof(ident)) && ident[EI_DATA] == ELFDATA2LSB &&
           ident[EI_VERSION] == EV_CURRENT;
    elf->wide = good && ident[EI_CLASS] == ELFCLASS64;
    if (good && ident[EI_CLASS] != ELFCLASS64 && ident[EI_CLASS] != ELFCLASS32)
        good = false;
    if (!good || !(elf->wide ? elf_open_64(elf) : elf_open_32(elf)))
        return load_fail_kernel(load, -EINVAL, "is no ELF file for x86 (32- or 64-bit)");
    if (!elf->header_count || elf->header_count > PROGRAM_HEADERS_MAX)
        return load_fail_kernel(load, -EINVAL, "has %u program headers; 1 to %u are right", elf->header_count,
                                PROGRAM_HEADERS_MAX);
    return 0;
}

static bool header_read(const struct elf *elf, u32 index, struct segment_header *out)
{
    u64 at = elf->headers + (u64)index * elf->header_size;
    Elf64_Phdr wide;
    Elf32_Phdr narrow;

    if (at < elf->headers)
        return false;
    if (elf->wide) {
        if (!elf_read(elf, at, &wide, sizeof(wide)))
            return false;
        *out = (struct segment_header){wide.p_type,   wide.p_offset, wide.p_paddr,
                                       wide.p_filesz, wide.p_memsz,  wide.p_align};
        return true;
    }
    if (!elf_read(elf, at, &narrow, sizeof(narrow)))
        return false;
    *out = (struct segment_header){narrow.p_type,   narrow.p_offset, narrow.p_paddr,
                                   narrow.p_filesz, narrow.p_memsz,  narrow.p_align};
    return true;
}

/* Look at one note segment for the entry; a note that runs out of its segment ends the search. */
static void notes_search(struct elf *elf, const struct segment_header *segment)
{
    u64 align = segment->align == 8 ? 8 : 4, at = 0;
    char owner[sizeof(NOTE_OWNER)];
    Elf64_Nhdr note;

    if (segment->offset > elf->size || segment->file_size > elf->size - segment->offset)
        return;
    for (unsigned i = 0; i < NOTES_MAX && at <= segment->file_size; i++) {
        u64 rest = segment->file_size - at, description;

        if (rest < sizeof(note) || !elf_read(elf, segment->offset + at, &note, sizeof(note)))
            return;
        description = at + ALIGN_UP(sizeof(note) + (u64)note.n_namesz, align);
        if (description > segment->file_size || note.n_descsz > segment->file_size - description)
            return;
        if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == sizeof(owner) && note.n_descsz >= 4 &&
            elf_read(elf, segment->offset + at + sizeof(note), owner, sizeof(owner)) &&
            !memcmp(owner, NOTE_OWNER, sizeof(owner))) {
            elf->entry_found =
                elf_read(elf, segment->offset + description, &elf->entry, note.n_descsz >= 8 ? 8 : 4);
            return;
        }
        at = description + ALIGN_UP((u64)note.n_descsz, align);
    }
}

static bool ranges_overlap(const struct segment_header *a, const struct segment_header *b)
{
    return a->address < b->address + b->memory_size && b->address < a->address + a->memory_size;
}

/* Each loaded segment: in the file, in RAM above what the loaders write, and beside all others. */
static int segment_check(const struct load *load, struct elf *elf, const struct segment_header *segment)
{
    unsigned long long address = segment->address, size = segment->memory_size;

    if (segment->offset > elf->size || segment->file_size > elf->size - segment->offset)
        return load_fail_kernel(load, -EINVAL, "is truncated: %llu bytes at %llu are not in its %llu bytes",
                                (unsigned long long)segment->file_size, (unsigned long long)segment->offset,
                                (unsigned long long)elf->size);
    if (segment->file_size > segment->memory_size)
        return load_fail_kernel(load, -EINVAL, "has a segment of %llu bytes with %llu bytes in the file",
                                size, (unsigned long long)segment->file_size);
    if (segment->address < LOAD_KERNEL_LOWEST || segment->address >= SIZE_4G)
        return load_fail_kernel(load, -EINVAL, "wants a segment at %#llx; 1 MiB to 4 GiB are right", address);
    if (!load_is_ram(load, segment->address, segment->memory_size))
        return load_fail_kernel(load, -ENOMEM,
                                "needs %llu KiB at %#llx, which %llu MiB of memory do not have", size >> 10,
                                address, (unsigned long long)(load->config->memory >> 20));
    for (u32 i = 0; i < elf->load_count; i++)
        if (ranges_overlap(&elf->load[i], segment))
            return load_fail_kernel(load, -EINVAL, "has two segments that overlap at %#llx", address);
    return 0;
}

static int segments_collect(const struct load *load, struct elf *elf)
{
    struct segment_header segment;

    for (u32 i = 0; i < elf->header_count; i++) {
        if (!header_read(elf, i, &segment))
            return load_fail_kernel(load, -EINVAL, "is truncated: program header %u of %u is not in it",
                                    i + 1, elf->header_count);
        if (segment.type == PT_NOTE && !elf->entry_found)
            notes_search(elf, &segment);
        if (segment.type != PT_LOAD || !segment.memory_size)
            continue;
        int error = segment_check(load, elf, &segment);

        if (error)
            return error;
        elf->load[elf->load_count++] = segment;
    }
    return 0;
}

/* The entry must lie in something that is loaded; on the way the whole extent is found. */
static int entry_check(const struct load *load, struct elf *elf)
{
    bool inside = false;

    if (!elf->entry_found)
        return load_fail_kernel(load, -EINVAL, "is an ELF file without a PVH entry (note \"Xen\", type 18)");
    elf->memory = (struct load_range){~0ull, 0};
    for (u32 i = 0; i < elf->load_count; i++) {
        const struct segment_header *segment = &elf->load[i];

        elf->memory.start = MIN(elf->memory.start, segment->address);
        elf->memory.end = MAX(elf->memory.end, segment->address + segment->memory_size);
        inside |= elf->entry >= segment->address && elf->entry - segment->address < segment->file_size;
    }
    if (!inside)
        return load_fail_kernel(load, -EINVAL, "has its PVH entry %#llx outside what it loads",
                                (unsigned long long)elf->entry);
    return 0;
}

static int segments_load(const struct load *load, const struct elf *elf)
{
    /*
     * What lies between file_size and memory_size is zero: so is guest memory, and untouched it costs no
     * frame.
     */
    for (u32 i = 0; i < elf->load_count; i++) {
        const struct segment_header *segment = &elf->load[i];
        int error = load_copy(load, segment->address, elf->file + segment->offset, segment->file_size);

        if (error)
            return error;
    }
    return 0;
}

static int write_start_info(const struct load *load, struct load_range initrd)
{
    const struct guest_memory *memory = load->memory;
    struct start_block block = {
        .info = {.magic = START_INFO_MAGIC,
                 .version = START_INFO_VERSION,
                 .module_count = initrd.start ? 1 : 0,
                 .modules = initrd.start ? LOAD_START_INFO + offsetof(struct start_block, initrd) : 0,
                 .cmdline = LOAD_CMDLINE,
                 .rsdp = load->rsdp,
                 .memory_map = LOAD_START_INFO + offsetof(struct start_block, memory),
                 .memory_map_entries = memory->region_count},
        .initrd = {.address = initrd.start, .size = initrd.end - initrd.start},
    };

    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region *region = &memory->regions[i];

        block.memory[i] = (struct start_memory){region->start, region->end - region->start, region->type, 0};
    }
    return load_copy(load, LOAD_START_INFO, &block, sizeof(block));
}

int elf_pvh_load(const struct load *load, struct vcpu_state *state)
{
    static struct elf elf; /* boot CPU alone; too large for a stack */
    u64 gdt[START_GDT_ENTRIES];
    struct load_range initrd;
    int error = elf_open(load, &elf);

    if (!error)
        error = segments_collect(load, &elf);
    if (!error)
        error = entry_check(load, &elf);
    if (!error)
        error = load_initrd(load, elf.memory, LOAD_INITRD_LIMIT, &initrd);
    if (!error)
        error = load_cmdline(load, VM_CMDLINE_MAX - 1);
    if (!error)
        error = segments_load(load, &elf);
    if (!error)
        error = write_start_info(load, initrd);
    if (error)
        return error;
    start_gdt(gdt, false);
    error = load_copy(load, LOAD_GDT, gdt, sizeof(gdt));
    start_state_protected(state, LOAD_GDT, (u32)elf.entry);
    state->regs.gpr[RBX] = LOAD_START_INFO;
    return error;
}
