/* SPDX-License-Identifier: MIT */
/*
 * Loader of Linux's bzImage, entered at its 64-bit entry with the boot parameters ("zero page") in RSI.
 * Called by load_guest; boot CPU. The protocol: Documentation/arch/x86/boot.rst, field by field; layouts:
 * <asm/bootparam.h>.
 */
#include <asm/bootparam.h>

#include "guest/load/load.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

_Static_assert(offsetof(struct boot_params, hdr) == 0x1f1, "the header's place in file and zero page");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "zero page");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "zero page");
_Static_assert(sizeof(struct boot_e820_entry) == 20, "zero page");
_Static_assert(sizeof(struct boot_params) == 4096, "the zero page is one page");

#define HEADER_OFFSET         0x1f1
#define HEADER_ROOM           0x290      /* a file shorter than where the header may end is no kernel */
#define HEADER_MAGIC          0x53726448 /* "HdrS" */
#define BOOT_SECTOR_MAGIC     0xaa55
#define JUMP_OPCODE           0xeb
#define PROTOCOL_NEEDED       0x20c /* 2.12: xloadflags, the 64-bit entry */
#define SECTOR                512ull
#define SETUP_SECTORS_DEFAULT 4 /* what 0 means */
#define ENTRY_64              0x200
#define LOADER_UNKNOWN        0xff

#define PAGE_PRESENT_WRITABLE 0x3ull
#define PAGE_LARGE            0x80ull
#define DIRECTORIES           4 /* 4 GiB */
#define TABLE_ENTRIES         512

/* The file, seen through its header: all of it checked against the file's size. */
struct bzimage {
    struct setup_header header; /* a copy */
    const u8 *code;             /* the protected-mode part */
    u64 code_size;
    struct load_range memory; /* what the kernel occupies until it runs: load address, init_size */
};

bool bzimage_matches(const struct boot_file *file)
{
    struct setup_header header;

    if (file->size < HEADER_ROOM)
        return false;
    memcpy(&header, file->start + HEADER_OFFSET, sizeof(header));
    return header.boot_flag == BOOT_SECTOR_MAGIC && header.header == HEADER_MAGIC;
}

/* What this loader needs of the protocol. */
static int check_protocol(const struct load *load, const struct setup_header *header)
{
    if (header->version < PROTOCOL_NEEDED)
        return load_fail_kernel(load, -EINVAL, "speaks boot protocol %u.%02u; 2.12 or later is needed",
                                header->version >> 8, header->version & 0xff);
    if (!(header->xloadflags & XLF_KERNEL_64))
        return load_fail_kernel(load, -EINVAL, "has no 64-bit entry (xloadflags %#x)", header->xloadflags);
    if (!(header->loadflags & LOADED_HIGH))
        return load_fail_kernel(load, -EINVAL, "is a zImage, which lies below 1 MiB (loadflags %#x)",
                                header->loadflags);
    if ((header->jump & 0xff) != JUMP_OPCODE || 0x202 + (header->jump >> 8) > HEADER_ROOM)
        return load_fail_kernel(load, -EINVAL, "has a setup header that ends nowhere (jump %#x)",
                                header->jump);
    return 0;
}

/* The protected-mode part must lie in the file, and the payload in that part. */
static int check_file(const struct load *load, struct bzimage *image)
{
    const struct boot_file *file = &load->config->kernel;
    const struct setup_header *header = &image->header;
    u64 sectors = header->setup_sects ? header->setup_sects : SETUP_SECTORS_DEFAULT;
    u64 start = (sectors + 1) * SECTOR, end = start + (u64)header->syssize * 16;

    if (end > file->size)
        return load_fail_kernel(load, -EINVAL, "is truncated: %llu bytes, and its header speaks of %llu",
                                (unsigned long long)file->size, (unsigned long long)end);
    image->code_size = end - start;
    if (image->code_size <= ENTRY_64)
        return load_fail_kernel(load, -EINVAL, "has no code at its entry (syssize %u)", header->syssize);
    if ((u64)header->payload_offset + header->payload_length > image->code_size)
        return load_fail_kernel(
            load, -EINVAL, "has its payload (%u bytes at %u) outside its %llu bytes of code",
            header->payload_length, header->payload_offset, (unsigned long long)image->code_size);
    image->code = file->start + start;
    return 0;
}

/*
 * Where to put it. A kernel that may move still unpacks itself to pref_address or above, so that is the one
 * right place; init_size is what it needs from there on.
 */
static int check_place(const struct load *load, struct bzimage *image)
{
    const struct setup_header *header = &image->header;
    u64 align = header->kernel_alignment, at = header->pref_address;

    if (!align || (align & (align - 1)))
        return load_fail_kernel(load, -EINVAL, "has an alignment of %#llx, which is no power of two",
                                (unsigned long long)align);
    if (header->relocatable_kernel && at < SIZE_4G)
        at = ALIGN_UP(MAX(at, LOAD_KERNEL_LOWEST), align);
    if (at < LOAD_KERNEL_LOWEST || !IS_ALIGNED(at, align))
        return load_fail_kernel(load, -EINVAL, "wants to be at %#llx, which can't be (alignment %#llx)",
                                (unsigned long long)at, (unsigned long long)align);
    if (header->init_size < image->code_size)
        return load_fail_kernel(load, -EINVAL,
                                "says it needs %u bytes of memory, less than its %llu bytes of code",
                                header->init_size, (unsigned long long)image->code_size);
    if (at >= SIZE_4G || !load_is_ram(load, at, header->init_size))
        return load_fail_kernel(load, -ENOMEM, "needs %u KiB at %#llx, which %llu MiB of memory do not have",
                                header->init_size >> 10, (unsigned long long)at,
                                (unsigned long long)(load->config->memory >> 20));
    image->memory = (struct load_range){at, at + header->init_size};
    return 0;
}

static int image_open(const struct load *load, struct bzimage *image)
{
    int error;

    memcpy(&image->header, load->config->kernel.start + HEADER_OFFSET, sizeof(image->header));
    error = check_protocol(load, &image->header);
    if (!error)
        error = check_file(load, image);
    if (!error)
        error = check_place(load, image);
    return error;
}

/*
 * Identity page tables for the first 4 GiB, as the 64-bit entry wants them (kernel, zero page, command
 * line).
 */
static int write_page_tables(const struct load *load)
{
    static u64 table[TABLE_ENTRIES]; /* boot CPU alone; too large for a stack */
    const gpa_t directory_pointers = LOAD_PAGE_TABLES + PAGE_SIZE,
                directories = directory_pointers + PAGE_SIZE;
    const u64 first = directory_pointers | PAGE_PRESENT_WRITABLE;
    u64 pointers[DIRECTORIES];
    int error = load_copy(load, LOAD_PAGE_TABLES, &first, sizeof(first));

    for (u64 i = 0; i < DIRECTORIES && !error; i++) {
        pointers[i] = (directories + i * PAGE_SIZE) | PAGE_PRESENT_WRITABLE;
        for (u64 j = 0; j < TABLE_ENTRIES; j++)
            table[j] = (i * TABLE_ENTRIES + j) * SIZE_2M | PAGE_PRESENT_WRITABLE | PAGE_LARGE;
        error = load_copy(load, directories + i * PAGE_SIZE, table, sizeof(table));
    }
    return error ? error : load_copy(load, directory_pointers, pointers, sizeof(pointers));
}

static void fill_memory_map(const struct guest_memory *memory, struct boot_params *params)
{
    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region *region = &memory->regions[i];

        params->e820_table[i] = (struct boot_e820_entry){
            .addr = region->start, .size = region->end - region->start, .type = region->type};
    }
    params->e820_entries = (u8)memory->region_count;
}
_Static_assert(GUEST_REGIONS <= E820_MAX_ENTRIES_ZEROPAGE, "the zero page has room for every region");

/* A clean zero page with the image's own header in it (only as much of it as the image says it has). */
static int write_boot_params(const struct load *load, const struct bzimage *image, struct load_range initrd)
{
    static struct boot_params params; /* boot CPU alone */
    size_t header_size = 0x202 + (image->header.jump >> 8) - HEADER_OFFSET;

    memset(&params, 0, sizeof(params));
    memcpy(&params.hdr, &image->header, MIN(header_size, sizeof(params.hdr)));
    params.hdr.type_of_loader = LOADER_UNKNOWN;
    params.hdr.code32_start = (u32)image->memory.start;
    params.hdr.cmd_line_ptr = LOAD_CMDLINE;
    params.hdr.ramdisk_image = (u32)initrd.start;
    params.hdr.ramdisk_size = (u32)(initrd.end - initrd.start);
    params.acpi_rsdp_addr = load->rsdp;
    fill_memory_map(load->memory, &params);
    return load_copy(load, LOAD_BOOT_PARAMS, &params, sizeof(params));
}

int bzimage_load(const struct load *load, struct vcpu_state *state)
{
    u64 gdt[START_GDT_ENTRIES];
    struct load_range initrd;
    struct bzimage image;
    int error = image_open(load, &image);

    if (error)
        return error;
    error = load_initrd(load, image.memory, MIN((u64)image.header.initrd_addr_max + 1, SIZE_4G), &initrd);
    if (!error)
        error = load_cmdline(load, image.header.cmdline_size);
    if (!error)
        error = load_copy(load, image.memory.start, image.code, image.code_size);
    if (!error)
        error = write_boot_params(load, &image, initrd);
    if (!error)
        error = write_page_tables(load);
    if (error)
        return error;
    start_gdt(gdt, true);
    error = load_copy(load, LOAD_GDT, gdt, sizeof(gdt));
    start_state_long(state, LOAD_GDT, LOAD_PAGE_TABLES, image.memory.start + ENTRY_64);
    state->regs.gpr[RSI] = LOAD_BOOT_PARAMS;
    return error;
}
