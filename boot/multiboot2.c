/* SPDX-License-Identifier: MIT */
/*
 * What a multiboot2 loader says, read tag by tag into struct boot_info. Called once by boot_main, on the boot
 * CPU, before there is an allocator. Nothing is believed: the chain of tags is checked first, each tag is
 * copied out before it is looked at, and one that makes no sense is left out with a reason. Layouts:
 * boot/multiboot2.h; memory: multiboot2_memory.c.
 */
#include "boot/multiboot2_parser.h"

#include "arch/x86/machine/paging.h"
#include "boot/memory_ranges.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

void multiboot2_skip(struct parser *parser, const char *format, ...)
{
    va_list args;

    if (parser->why_size == 0 || parser->why[0])
        return;
    va_start(args, format);
    vsnprintf(parser->why, parser->why_size, format, args);
    va_end(args);
}

/* ---------------------------------------------------------------- the chain */

/* Whether the tags, `bytes` of them, follow each other up to an end tag. */
static int chain_check(struct parser *parser, size_t bytes)
{
    size_t at = 0;

    while (bytes - at >= sizeof(struct multiboot2_tag)) {
        struct multiboot2_tag tag = tag_header(parser->tags + at);

        if (tag.size < sizeof(tag) || tag.size > bytes - at) {
            multiboot2_skip(parser,
                            "the boot loader's tag of type %u at offset %zu has size %u; 8 to %zu would fit",
                            tag.type, at + sizeof(struct multiboot2_info), tag.size, bytes - at);
            return -EINVAL;
        }
        if (tag.type == TAG_END)
            return 0;
        if (tag.type == TAG_EFI_BOOT_SERVICES) {
            multiboot2_skip(parser,
                            "the boot loader left EFI boot services running; lintel needs them ended");
            return -EINVAL;
        }
        if (ALIGN_UP((size_t)tag.size, TAG_ALIGN) > bytes - at)
            break;
        at += ALIGN_UP((size_t)tag.size, TAG_ALIGN);
    }
    multiboot2_skip(parser, "the boot loader's tags, %zu bytes, have no end tag", bytes);
    return -EINVAL;
}

/* ---------------------------------------------------------------- strings and modules */

/* The string that fills a tag from `from` on; NULL when it does not end inside the tag. */
static const char *tag_string(const u8 *at, size_t from)
{
    const char *text = (const char *)at + from;
    size_t most = tag_header(at).size - from;

    return strnlen(text, most) < most ? text : NULL;
}

static void parse_cmdline(struct parser *parser, const u8 *at)
{
    const char *text = tag_string(at, sizeof(struct multiboot2_tag));

    if (!text)
        multiboot2_skip(parser, "lintel's command line does not end; it was ignored");
    else if (string_copy(parser->info->cmdline, text, sizeof(parser->info->cmdline)) >=
             sizeof(parser->info->cmdline))
        multiboot2_skip(parser, "lintel's command line was cut at %zu characters",
                        sizeof(parser->info->cmdline) - 1);
}

static void parse_loader(struct parser *parser, const u8 *at)
{
    const char *text = tag_string(at, sizeof(struct multiboot2_tag));

    if (text)
        string_copy(parser->info->loader, text, sizeof(parser->info->loader));
}

/* The first word of text, kept in info->file_names; NULL when it is empty or there is no room. */
static const char *name_keep(struct parser *parser, const char *text)
{
    char *name = parser->info->file_names + parser->names_used;
    size_t room = sizeof(parser->info->file_names) - parser->names_used, length = 0;

    while (*text == ' ' || *text == '\t')
        text++;
    while (text[length] && text[length] != ' ' && text[length] != '\t')
        length++;
    if (length == 0 || length >= room)
        return NULL;
    memcpy(name, text, length);
    name[length] = 0;
    parser->names_used += length + 1;
    return name;
}

static void parse_module(struct parser *parser, const u8 *at)
{
    struct boot_info *info = parser->info;
    const char *text = tag_string(at, sizeof(struct multiboot2_module)), *name;
    struct multiboot2_module module;

    memcpy(&module, at, sizeof(module));
    if (!text || module.end < module.start) {
        multiboot2_skip(parser, "a module at %#x to %#x was ignored: its %s", module.start, module.end,
                        text ? "end lies before its beginning" : "name does not end");
        return;
    }
    if (info->file_count == BOOT_FILES) {
        multiboot2_skip(parser, "the module %.64s was ignored: at most %d can be used", text, BOOT_FILES);
        return;
    }
    name = name_keep(parser, text);
    if (!name) {
        multiboot2_skip(parser, "a module at %#x was ignored: %s", module.start,
                        *text ? "the names of all modules are too long together"
                              : "it has no name; give one behind its path in grub.cfg");
        return;
    }
    info->file_ranges[info->file_count] = (struct memory_range){
        ALIGN_DOWN(module.start, PAGE_SIZE),
        ALIGN_UP(module.end, PAGE_SIZE),
    };
    info->files[info->file_count] = (struct boot_file){
        .name = name,
        .start = phys_to_virt(module.start),
        .size = module.end - module.start,
    };
    info->file_count++;
}

/* ---------------------------------------------------------------- framebuffer, ACPI, EFI */

/* What is wrong with a framebuffer, or NULL. */
static const char *framebuffer_fault(const struct multiboot2_framebuffer *tag)
{
    u64 row =
        tag->type == FRAMEBUFFER_EGA_TEXT ? tag->width * 2ull : tag->width * (u64)tag->bits_per_pixel / 8;

    if (tag->type != FRAMEBUFFER_RGB && tag->type != FRAMEBUFFER_EGA_TEXT)
        return "it is neither RGB nor text";
    if (tag->width == 0 || tag->height == 0 || tag->pitch < row)
        return "its size makes no sense";
    if (tag->address == 0 || tag->address > DIRECT_MAP_SIZE)
        return "its address makes no sense";
    if (tag->type == FRAMEBUFFER_RGB && (tag->bits_per_pixel < 15 || tag->bits_per_pixel > 32))
        return "15 to 32 bits per pixel can be used";
    return NULL;
}

static void parse_framebuffer(struct parser *parser, const u8 *at)
{
    struct boot_framebuffer *framebuffer = &parser->info->framebuffer;
    struct multiboot2_framebuffer_rgb rgb = {0};
    struct multiboot2_framebuffer tag;
    const char *fault;

    memcpy(&tag, at, sizeof(tag));
    fault = framebuffer_fault(&tag);
    if (!fault && tag.type == FRAMEBUFFER_RGB) {
        if (tag.tag.size < sizeof(tag) + sizeof(rgb))
            fault = "its colours are not described";
        else
            memcpy(&rgb, at + sizeof(tag), sizeof(rgb));
    }
    if (MAX(rgb.red_position, MAX(rgb.green_position, rgb.blue_position)) >= 32)
        fault = "its colours lie outside a pixel";
    if (fault) {
        multiboot2_skip(parser, "the framebuffer at %#llx (%ux%u, %u bits, type %u) was ignored: %s",
                        (unsigned long long)tag.address, tag.width, tag.height, tag.bits_per_pixel, tag.type,
                        fault);
        return;
    }
    *framebuffer = (struct boot_framebuffer){
        .address = tag.address,
        .pitch = tag.pitch,
        .width = tag.width,
        .height = tag.height,
        .bits_per_pixel = tag.bits_per_pixel,
        .type = tag.type,
        .red_shift = rgb.red_position,
        .green_shift = rgb.green_position,
        .blue_shift = rgb.blue_position,
    };
}

static bool sum_is_zero(const void *bytes, size_t count)
{
    u8 sum = 0;

    for (size_t i = 0; i < count; i++)
        sum = (u8)(sum + ((const u8 *)bytes)[i]);
    return sum == 0;
}

/* How many bytes of a copied RSDP are good: 36, 20, or 0. */
static size_t rsdp_valid_bytes(const struct acpi_rsdp *rsdp, size_t copied)
{
    if (copied < RSDP_OLD_BYTES || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 ||
        !sum_is_zero(rsdp, RSDP_OLD_BYTES))
        return 0;
    if (rsdp->revision < 2 || copied < sizeof(*rsdp))
        return RSDP_OLD_BYTES;
    return rsdp->length == sizeof(*rsdp) && sum_is_zero(rsdp, sizeof(*rsdp)) ? sizeof(*rsdp) : 0;
}

static void parse_rsdp(struct parser *parser, const u8 *at)
{
    const u8 *copy = at + sizeof(struct multiboot2_tag);
    struct multiboot2_tag tag = tag_header(at);
    struct boot_info *info = parser->info;
    struct acpi_rsdp rsdp = {0};
    size_t copied = MIN(tag.size - sizeof(tag), tag.type == TAG_RSDP_NEW ? sizeof(rsdp) : RSDP_OLD_BYTES),
           valid;
    static const struct acpi_rsdp none;

    memcpy(&rsdp, copy, copied);
    valid = rsdp_valid_bytes(&rsdp, copied);
    if (valid == 0) {
        multiboot2_skip(parser,
                        "the boot loader's %s ACPI RSDP was ignored: its signature or checksum is wrong",
                        tag.type == TAG_RSDP_NEW ? "new" : "old");
        return;
    }
    /* The new one knows more, whichever comes first. */
    if (info->has_rsdp && tag.type == TAG_RSDP_OLD)
        return;
    memcpy(info->rsdp_bytes, &none, sizeof(none));
    memcpy(info->rsdp_bytes, &rsdp, valid);
    info->rsdp = virt_to_phys(copy);
    info->has_rsdp = true;
}

static void parse_efi(struct parser *parser, const u8 *at)
{
    (void)at;
    parser->info->efi = true;
}

/* ---------------------------------------------------------------- all of it */

/* A file must lie in RAM, or lintel could not even read it. Those that do not are taken off the list. */
static void files_check(struct parser *parser)
{
    struct boot_info *info = parser->info;
    const struct memory_ranges ranges = {.list = info->ram, .count = info->ram_count};
    unsigned kept = 0;

    for (unsigned i = 0; i < info->file_count; i++) {
        if (info->files[i].size > 0 &&
            !memory_ranges_hold(&ranges, info->file_ranges[i].start, info->file_ranges[i].end)) {
            multiboot2_skip(parser, "the module %.64s at %#llx was ignored: it does not lie in RAM",
                            info->files[i].name, (unsigned long long)info->file_ranges[i].start);
            continue;
        }
        info->files[kept] = info->files[i];
        info->file_ranges[kept++] = info->file_ranges[i];
    }
    info->file_count = kept;
}

static const struct tag_parser {
    u32 type, size_least;
    void (*parse)(struct parser *parser, const u8 *at);
} tag_parsers[] = {
    {TAG_CMDLINE, sizeof(struct multiboot2_tag), parse_cmdline},
    {TAG_LOADER, sizeof(struct multiboot2_tag), parse_loader},
    {TAG_MODULE, sizeof(struct multiboot2_module), parse_module},
    {TAG_FRAMEBUFFER, sizeof(struct multiboot2_framebuffer), parse_framebuffer},
    {TAG_EFI32, sizeof(struct multiboot2_tag), parse_efi},
    {TAG_EFI64, sizeof(struct multiboot2_tag), parse_efi},
    {TAG_EFI_MAP, sizeof(struct multiboot2_tag), parse_efi},
    {TAG_RSDP_OLD, sizeof(struct multiboot2_tag), parse_rsdp},
    {TAG_RSDP_NEW, sizeof(struct multiboot2_tag), parse_rsdp},
};

static void tag_parse(struct parser *parser, const u8 *at)
{
    struct multiboot2_tag tag = tag_header(at);

    for (unsigned i = 0; i < ARRAY_SIZE(tag_parsers); i++) {
        if (tag_parsers[i].type != tag.type)
            continue;
        if (tag.size >= tag_parsers[i].size_least)
            tag_parsers[i].parse(parser, at);
        else
            multiboot2_skip(parser, "the boot loader's tag of type %u has %u bytes, but needs %u", tag.type,
                            tag.size, tag_parsers[i].size_least);
    }
}

int multiboot2_parse(const void *tags, size_t limit, struct boot_info *info, char *why, size_t size)
{
    struct parser parser = {.info = info, .why = why, .why_size = size};
    struct multiboot2_info header;
    int status;

    memset(info, 0, sizeof(*info));
    info->framebuffer.type = FRAMEBUFFER_NONE;
    why[0] = 0;
    memcpy(&header, tags, sizeof(header));
    if (header.total_size < sizeof(header) || header.total_size > limit) {
        multiboot2_skip(&parser, "the boot loader's tags have %u bytes; 8 to %zu would be right",
                        header.total_size, limit);
        return -EINVAL;
    }
    parser.tags = (const u8 *)tags + sizeof(header);
    status = chain_check(&parser, header.total_size - sizeof(header));
    if (status < 0)
        return status;
    info->info_range.start = ALIGN_DOWN(virt_to_phys(tags), PAGE_SIZE);
    info->info_range.end = ALIGN_UP(virt_to_phys(tags) + header.total_size, PAGE_SIZE);
    for (const u8 *at = tag_first(&parser); at; at = tag_next(at))
        tag_parse(&parser, at);
    status = multiboot2_parse_memory(&parser);
    if (status == 0)
        files_check(&parser);
    return status;
}
