/* SPDX-License-Identifier: MIT */
/*
 * What multiboot2.c and multiboot2_memory.c share: the way along the tags, and the reason for what is left
 * out.
 */
#ifndef BOOT_MULTIBOOT2_PARSER_H
#define BOOT_MULTIBOOT2_PARSER_H

#include "boot/boot_info.h"
#include "boot/multiboot2.h"
#include "hv/lib/string.h"

#define TAG_ALIGN 8u

struct parser {
    struct boot_info *info;
    const u8 *tags;    /* the first one */
    size_t names_used; /* of info->file_names */
    char *why;
    size_t why_size;
};

/* A copy: the tags may be misaligned. */
static inline struct multiboot2_tag tag_header(const u8 *at)
{
    struct multiboot2_tag tag;

    memcpy(&tag, at, sizeof(tag));
    return tag;
}

/* The next tag; NULL at the end tag, which multiboot2_parse has found before it asks. */
static inline const u8 *tag_next(const u8 *at)
{
    at += ALIGN_UP(tag_header(at).size, TAG_ALIGN);
    return tag_header(at).type == TAG_END ? NULL : at;
}

static inline const u8 *tag_first(const struct parser *parser)
{
    return tag_header(parser->tags).type == TAG_END ? NULL : parser->tags;
}

/* Remember the first thing that had to be left out; the caller of multiboot2_parse logs it. */
void multiboot2_skip(struct parser *parser, const char *format, ...) PRINTF_LIKE(2, 3);

/* Fill info->ram. 0, or -EINVAL when there is none. */
int multiboot2_parse_memory(struct parser *parser);

#endif
