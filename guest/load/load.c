/* SPDX-License-Identifier: MIT */
/*
 * What all kernel formats share: telling them apart, placing the initrd, the command line, and the sentences
 * about files that are no good. Boot CPU; the VM's lock is not held (guest_memory takes it as it needs).
 */
#include "guest/load/load.h"

#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

/* The formats, in the order in which they are tried: a file matches one at most. */
static const struct {
    bool (*matches)(const struct boot_file *file);
    int (*load)(const struct load *load, struct vcpu_state *state);
} formats[] = {
    {bzimage_matches, bzimage_load},
    {elf_pvh_matches, elf_pvh_load},
};

static int load_fail(const struct load *load, int error, const char *kind, const char *file,
                     const char *format, va_list args)
{
    int begun = snprintf(load->why, load->why_size, "%s %s ", kind, file);

    if (begun >= 0 && (size_t)begun < load->why_size)
        vsnprintf(load->why + begun, load->why_size - (size_t)begun, format, args);
    return error;
}

int load_fail_kernel(const struct load *load, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    load_fail(load, error, "kernel", load->config->kernel_name, format, args);
    va_end(args);
    return error;
}

static int PRINTF_LIKE(3, 4) load_fail_initrd(const struct load *load, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    load_fail(load, error, "initrd", load->config->initrd_name, format, args);
    va_end(args);
    return error;
}

static const struct guest_region *region_find(const struct guest_memory *memory, gpa_t gpa)
{
    for (u32 i = 0; i < memory->region_count; i++)
        if (gpa >= memory->regions[i].start && gpa < memory->regions[i].end)
            return &memory->regions[i];
    return NULL;
}

bool load_is_ram(const struct load *load, gpa_t start, u64 size)
{
    const struct guest_region *region = region_find(load->memory, start);

    return region && region->type == REGION_RAM && size <= region->end - start;
}

int load_copy(const struct load *load, gpa_t to, const void *from, u64 bytes)
{
    int error = guest_memory_write(load->memory, to, from, bytes);

    if (error)
        return load_fail_kernel(load, error, "can't be put into memory: %llu bytes at %#llx (error %d)",
                                (unsigned long long)bytes, (unsigned long long)to, error);
    return 0;
}

int load_cmdline(const struct load *load, u64 most)
{
    u64 length = strnlen(load->config->cmdline, sizeof(load->config->cmdline));

    if (length > most)
        return load_fail_kernel(load, -EINVAL, "takes a command line of %llu bytes, and this one has %llu",
                                (unsigned long long)most, (unsigned long long)length);
    /* The NUL behind it is there already: memory is zero. */
    return load_copy(load, LOAD_CMDLINE, load->config->cmdline, length);
}

/* The highest page-aligned place for size bytes within low .. high, or 0. */
static gpa_t place_high(gpa_t low, gpa_t high, u64 size)
{
    if (high < low || size > high - low)
        return 0;
    gpa_t at = ALIGN_DOWN(high - size, PAGE_SIZE);

    return at >= low ? at : 0;
}

/* The same over all RAM above 1 MiB, beside the kernel; the highest piece of RAM that has room wins. */
static gpa_t initrd_place(const struct load *load, struct load_range kernel, gpa_t limit)
{
    for (u32 i = load->memory->region_count; i-- > 0;) {
        const struct guest_region *region = &load->memory->regions[i];
        gpa_t low = MAX(region->start, LOAD_KERNEL_LOWEST), high = MIN(region->end, limit), at;

        if (region->type != REGION_RAM)
            continue;
        at = place_high(MAX(low, kernel.end), high, load->config->initrd.size);
        if (!at)
            at = place_high(low, MIN(high, kernel.start), load->config->initrd.size);
        if (at)
            return at;
    }
    return 0;
}

int load_initrd(const struct load *load, struct load_range kernel, gpa_t limit, struct load_range *at)
{
    const struct boot_file *initrd = &load->config->initrd;

    *at = (struct load_range){0};
    if (!load->config->initrd_name[0])
        return 0;
    if (!initrd->start)
        return load_fail_initrd(load, -ENOENT, "is not among the modules that the boot loader brought");
    if (!initrd->size)
        return load_fail_initrd(load, -EINVAL, "is empty");
    at->start = initrd_place(load, kernel, limit);
    if (!at->start)
        return load_fail_initrd(
            load, -ENOMEM, "(%llu bytes) does not fit beside the kernel into %llu MiB of memory",
            (unsigned long long)initrd->size, (unsigned long long)(load->config->memory >> 20));
    at->end = at->start + initrd->size;
    return load_copy(load, at->start, initrd->start, initrd->size);
}

int load_guest(const struct load *load, struct vcpu_state *state)
{
    const struct boot_file *kernel = &load->config->kernel;

    if (!kernel->start)
        return load_fail_kernel(load, -ENOENT, "is not among the modules that the boot loader brought");
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
        if (formats[i].matches(kernel))
            return formats[i].load(load, state);
    return load_fail_kernel(load, -EINVAL, "(%llu bytes) is neither a bzImage nor a PVH ELF file",
                            (unsigned long long)kernel->size);
}
