/* SPDX-License-Identifier: MIT */
/* The boot loader's tags: what they give, in any order, and what becomes of each kind of nonsense. */
// sources: boot/multiboot2.c boot/multiboot2_memory.c boot/memory_ranges.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/paging.h"
#include "boot/boot_info.h"
#include "boot/multiboot2.h"
#include "hv/lib/errno.h"

#define TAGS_HPA 0x500010ull
#define MIB      0x100000ull

static u8 tags[65536] ALIGNED(8);
static size_t used;
static struct boot_info info;
static char why[160];

void *phys_to_virt(hpa_t hpa)
{
    return (void *)(DIRECT_MAP_BASE + hpa);
}

hpa_t virt_to_phys(const void *at)
{
    return TAGS_HPA + (hpa_t)((const u8 *)at - tags);
}

/* ---------------------------------------------------------------- making tags */

static int tags_begin(void **state)
{
    (void)state;
    memset(tags, 0xcc, sizeof(tags)); /* so that padding is no NUL by chance */
    used = sizeof(struct multiboot2_info);
    return 0;
}

static void tag_add(u32 type, const void *payload, u32 bytes)
{
    struct multiboot2_tag tag = {type, (u32)sizeof(tag) + bytes};

    memcpy(tags + used, &tag, sizeof(tag));
    if (bytes > 0)
        memcpy(tags + used + sizeof(tag), payload, bytes);
    used = ALIGN_UP(used + tag.size, 8u);
}

static void text_add(u32 type, const char *text)
{
    tag_add(type, text, (u32)strlen(text) + 1);
}

static void module_add(u32 start, u32 end, const char *text)
{
    u8 payload[600];

    memcpy(payload, &start, 4);
    memcpy(payload + 4, &end, 4);
    strcpy((char *)payload + 8, text);
    tag_add(TAG_MODULE, payload, (u32)strlen(text) + 9);
}

struct entry {
    u64 start, end;
    u32 type;
};

/* A memory map with entries of entry_size bytes. */
static void map_add(const struct entry *entries, unsigned count, u32 entry_size)
{
    static u8 payload[32768];
    u32 head[2] = {entry_size, 0};

    memset(payload, 0, sizeof(payload));
    memcpy(payload, head, sizeof(head));
    for (unsigned i = 0; i < count; i++) {
        struct multiboot2_map_entry entry = {entries[i].start, entries[i].end - entries[i].start,
                                             entries[i].type, 0};
        memcpy(payload + 8 + i * entry_size, &entry, MIN(entry_size, sizeof(entry)));
    }
    tag_add(TAG_MEMORY_MAP, payload, 8 + count * entry_size);
}

static void ram_add(void)
{
    static const struct entry entries[] = {{0, 0x9fc00, 1}, {MIB, 128 * MIB, 1}};

    map_add(entries, 2, 24);
}

static int parse_only(size_t limit)
{
    u32 total = (u32)used;

    memcpy(tags, &total, 4);
    return multiboot2_parse(tags, limit, &info, why, sizeof(why));
}

static int parse(void)
{
    tag_add(TAG_END, NULL, 0);
    return parse_only(sizeof(tags));
}

static void assert_ram(const struct memory_range *wanted, unsigned count)
{
    assert_int_equal(info.ram_count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(info.ram[i].start, wanted[i].start);
        assert_int_equal(info.ram[i].end, wanted[i].end);
    }
}

#define ASSERT_RAM(...)                                            \
    do {                                                           \
        static const struct memory_range ranges[] = {__VA_ARGS__}; \
        assert_ram(ranges, ARRAY_SIZE(ranges));                    \
    } while (0)

/* ---------------------------------------------------------------- strings, modules */

static void gives_what_grub_gives(void **state)
{
    (void)state;
    text_add(TAG_CMDLINE, "debug=1 x");
    text_add(TAG_LOADER, "GRUB 2.06");
    module_add(0x200000, 0x200123, "lintel.conf some more words");
    module_add(0x300000, 0x300000, "empty");
    tag_add(99, "unknown", 8);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_string_equal(why, "");
    assert_string_equal(info.cmdline, "debug=1 x");
    assert_string_equal(info.loader, "GRUB 2.06");
    assert_int_equal(info.file_count, 2);
    assert_string_equal(info.files[0].name, "lintel.conf");
    assert_ptr_equal(info.files[0].start, phys_to_virt(0x200000));
    assert_int_equal(info.files[0].size, 0x123);
    assert_int_equal(info.file_ranges[0].start, 0x200000);
    assert_int_equal(info.file_ranges[0].end, 0x201000);
    assert_string_equal(info.files[1].name, "empty");
    assert_int_equal(info.files[1].size, 0);
    assert_int_equal(info.info_range.start, 0x500000);
    assert_int_equal(info.info_range.end, ALIGN_UP(TAGS_HPA + used, PAGE_SIZE));
    assert_int_equal(info.framebuffer.type, FRAMEBUFFER_NONE);
    assert_false(info.has_rsdp);
    assert_false(info.efi);
}

static void cuts_a_long_command_line(void **state)
{
    char text[400];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[399] = 0;
    text_add(TAG_CMDLINE, text);
    text_add(TAG_LOADER, text);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_int_equal(strlen(info.cmdline), sizeof(info.cmdline) - 1);
    assert_int_equal(strlen(info.loader), sizeof(info.loader) - 1);
    assert_non_null(strstr(why, "cut at 255"));
}

static void ignores_strings_without_end(void **state)
{
    (void)state;
    tag_add(TAG_CMDLINE, "abcdefgh", 8);
    tag_add(TAG_LOADER, "abcdefgh", 8);
    tag_add(TAG_MODULE, "\0\0\x20\0\0\1\x20\0abcdefgh", 16);
    tag_add(TAG_MODULE, "\0\0\x20\0\0\1\x20\0", 8); /* no string at all */
    ram_add();
    assert_int_equal(parse(), 0);
    assert_string_equal(info.cmdline, "");
    assert_string_equal(info.loader, "");
    assert_int_equal(info.file_count, 0);
    assert_non_null(strstr(why, "command line does not end"));
}

static void ignores_modules_that_lie(void **state)
{
    static const struct {
        u32 start, end;
        const char *text, *reason;
    } cases[] = {
        {0x300000, 0x2fffff, "a", "end lies before its beginning"},
        {0x300000, 0x301000, "", "has no name"},
        {0x300000, 0x301000, "  ", "names"},
        {0x7fff000, 0x8001000, "a", "does not lie in RAM"},
        {0xfffff001, 0xffffffff, "a", "does not lie in RAM"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        tags_begin(state);
        module_add(cases[i].start, cases[i].end, cases[i].text);
        module_add(0x400000, 0x400001, "good");
        ram_add();
        assert_int_equal(parse(), 0);
        assert_int_equal(info.file_count, 1);
        assert_string_equal(info.files[0].name, "good");
        assert_int_equal(info.file_ranges[0].start, 0x400000);
        assert_non_null(strstr(why, cases[i].reason));
    }
}

static void takes_as_many_modules_as_it_can_name(void **state)
{
    char name[512];

    for (unsigned i = 0; i < BOOT_FILES + 3; i++)
        module_add(0x200000, 0x200001, "m");
    ram_add();
    assert_int_equal(parse(), 0);
    assert_int_equal(info.file_count, BOOT_FILES);
    assert_non_null(strstr(why, "at most 128"));

    tags_begin(state);
    memset(name, 'n', sizeof(name));
    name[511] = 0;
    for (unsigned i = 0; i < 20; i++)
        module_add(0x200000, 0x200001, name);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_int_equal(info.file_count, sizeof(info.file_names) / 512);
    assert_non_null(strstr(why, "too long together"));
}

/* ---------------------------------------------------------------- memory */

static void sorts_and_joins_the_map(void **state)
{
    static const struct entry entries[] = {
        {4096 * MIB, 6144 * MIB, 1}, {MIB, 2 * MIB, 1},         {0x800, 0x9fc00, 1},
        {2 * MIB, 16 * MIB, 1},      {15 * MIB, 15 * MIB, 1},   {64 * MIB, 32 * MIB, 99},
        {0x2000000, 0x2000800, 1},   {0x2000800, 0x2001000, 1}, {0x3000800, 0x3001800, 1},
    };

    (void)state;
    map_add(entries, 5, 24);
    map_add(entries + 6, 3, 32); /* a second map, with larger entries */
    assert_int_equal(parse(), 0);
    ASSERT_RAM({0x1000, 0x9f000}, {MIB, 16 * MIB}, {0x2000000, 0x2001000}, {4096 * MIB, 6144 * MIB});
}

static void lets_what_is_not_ram_win(void **state)
{
    static const struct entry entries[] = {
        {10 * MIB, 11 * MIB, 2},          {MIB, 64 * MIB, 1},      {8 * MIB, 20 * MIB, 1},
        {60 * MIB, 70 * MIB, 3},          {0, MIB + 1, 2},         {30 * MIB + 0x800, 30 * MIB + 0x900, 4},
        {40 * MIB, 50 * MIB, 0xdeadbeef}, {40 * MIB, 41 * MIB, 1},
    };

    (void)state;
    map_add(entries, ARRAY_SIZE(entries), 24);
    assert_int_equal(parse(), 0);
    ASSERT_RAM({MIB + 0x1000, 10 * MIB}, {11 * MIB, 30 * MIB}, {30 * MIB + 0x1000, 40 * MIB},
               {50 * MIB, 60 * MIB});
}

static void survives_ranges_at_the_end_of_the_world(void **state)
{
    struct multiboot2_map_entry entries[] = {
        {~0ull - 0x7ff, 0x10000, 1, 0}, {MIB, ~0ull, 1, 0}, {32 * MIB, ~0ull, 2, 0}, {5, 0, 1, 0}};
    u8 payload[8 + sizeof(entries)] = {24};

    (void)state;
    memcpy(payload + 8, entries, sizeof(entries));
    tag_add(TAG_MEMORY_MAP, payload, sizeof(payload));
    assert_int_equal(parse(), 0);
    ASSERT_RAM({MIB, 32 * MIB});
}

static void loses_memory_rather_than_inventing_it(void **state)
{
    static struct entry entries[700];

    (void)state;
    entries[0] = (struct entry){MIB, 1024 * MIB, 1};
    for (unsigned i = 1; i < 700; i++)
        entries[i] = (struct entry){(i + 1) * MIB, (i + 1) * MIB + 1, 2};
    map_add(entries, 700, 24);
    assert_int_equal(parse(), 0);
    assert_true(info.ram_count <= BOOT_RANGES);
    assert_non_null(strstr(why, "too many pieces"));
    for (unsigned i = 0; i < info.ram_count; i++) {
        assert_true(info.ram[i].start < info.ram[i].end);
        for (u64 page = 2 * MIB; page < 701 * MIB; page += MIB)
            assert_false(info.ram[i].start <= page && page < info.ram[i].end);
    }
}

static void efi_map_add(void)
{
    static const struct efi_memory_descriptor entries[] = {
        {EFI_CONVENTIONAL, 0, 16 * MIB, 0, 4096, 15},
        {EFI_LOADER_DATA, 0, MIB, 0, 256, 15},
        {5, 0, 4 * MIB, 0, 256, 15},
        {EFI_BOOT_SERVICES_CODE, 0, 2 * MIB, 0, 256, 15},
        {9, 0, 17 * MIB, 0, 1, 15},
        {10, 0, 64 * MIB, 0, ~0ull, 15},
    };
    u8 payload[8 + 6 * 48] = {48};

    for (unsigned i = 0; i < 6; i++)
        memcpy(payload + 8 + i * 48ul, &entries[i], sizeof(entries[i]));
    tag_add(TAG_EFI_MAP, payload, sizeof(payload));
}

static void falls_back_to_the_efi_map(void **state)
{
    (void)state;
    efi_map_add();
    assert_int_equal(parse(), 0);
    assert_true(info.efi);
    ASSERT_RAM({MIB, 3 * MIB}, {16 * MIB, 17 * MIB}, {17 * MIB + 0x1000, 32 * MIB});
}

static void prefers_the_plain_map(void **state)
{
    (void)state;
    efi_map_add();
    ram_add();
    assert_int_equal(parse(), 0);
    ASSERT_RAM({0x1000, 0x9f000}, {MIB, 128 * MIB});
}

static void falls_back_to_basic_memory(void **state)
{
    static const u32 sizes[2] = {700, 65536};

    (void)state;
    tag_add(TAG_BASIC_MEMORY, sizes, 8);
    map_add(NULL, 0, 24);
    assert_int_equal(parse(), 0);
    ASSERT_RAM({0x1000, 0xa0000}, {MIB, 65 * MIB});
}

static void refuses_a_machine_without_ram(void **state)
{
    static const struct entry entries[] = {{0, 0x1000, 1}, {MIB, MIB + 0x123, 1}, {2 * MIB, 3 * MIB, 2}};

    (void)state;
    tag_add(TAG_CMDLINE, "x", 1); /* a reason that must not hide the refusal */
    map_add(entries, 3, 24);
    assert_int_equal(parse(), -EINVAL);
    assert_non_null(strstr(why, "no usable RAM"));
    tags_begin(state);
    map_add(entries, 3, 8); /* entries too small to be any */
    assert_int_equal(parse(), -EINVAL);
}

/* ---------------------------------------------------------------- framebuffer, ACPI, EFI */

static void framebuffer_add(u8 type, u8 bits, u32 width, u32 pitch, u32 cut)
{
    struct multiboot2_framebuffer tag = {.address = 0xe0000000,
                                         .pitch = pitch,
                                         .width = width,
                                         .height = 600,
                                         .bits_per_pixel = bits,
                                         .type = type};
    static const u8 rgb[] = {16, 8, 8, 8, 0, 8};
    u8 payload[64];

    memcpy(payload, (const u8 *)&tag + 8, sizeof(tag) - 8);
    memcpy(payload + sizeof(tag) - 8, rgb, sizeof(rgb));
    tag_add(TAG_FRAMEBUFFER, payload, (u32)(sizeof(tag) - 8 + sizeof(rgb) - cut));
}

static void takes_a_framebuffer(void **state)
{
    (void)state;
    framebuffer_add(FRAMEBUFFER_RGB, 32, 800, 3200, 0);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_int_equal(info.framebuffer.address, 0xe0000000);
    assert_int_equal(info.framebuffer.type, FRAMEBUFFER_RGB);
    assert_int_equal(info.framebuffer.pitch, 3200);
    assert_int_equal(info.framebuffer.bits_per_pixel, 32);
    assert_int_equal(info.framebuffer.red_shift, 16);
    assert_int_equal(info.framebuffer.green_shift, 8);
    assert_int_equal(info.framebuffer.blue_shift, 0);
    tags_begin(state);
    framebuffer_add(FRAMEBUFFER_EGA_TEXT, 16, 80, 160, 6);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_int_equal(info.framebuffer.type, FRAMEBUFFER_EGA_TEXT);
}

static void ignores_a_framebuffer_that_lies(void **state)
{
    static const struct {
        u8 type, bits;
        u32 width, pitch, cut;
    } cases[] = {
        {0, 8, 800, 800, 0},
        {FRAMEBUFFER_RGB, 32, 800, 3199, 0},
        {FRAMEBUFFER_RGB, 8, 800, 3200, 0},
        {FRAMEBUFFER_RGB, 64, 8, 3200, 0},
        {FRAMEBUFFER_RGB, 32, 0, 3200, 0},
        {FRAMEBUFFER_RGB, 32, 800, 3200, 1},
        {FRAMEBUFFER_RGB, 32, 800, 3200, 10},
        {FRAMEBUFFER_RGB, 32, 0xffffffff, 0xfffffffc, 0},
        {77, 32, 800, 3200, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        tags_begin(state);
        framebuffer_add(cases[i].type, cases[i].bits, cases[i].width, cases[i].pitch, cases[i].cut);
        ram_add();
        assert_int_equal(parse(), 0);
        assert_int_equal(info.framebuffer.type, FRAMEBUFFER_NONE);
        assert_string_not_equal(why, "");
    }
}

static void rsdp_add(u32 type, u8 revision, int spoil)
{
    struct acpi_rsdp rsdp = {
        .signature = "RSD PTR", .revision = revision, .rsdt = 0x1234, .length = 36, .xsdt = 0x5678};
    u8 *bytes = (u8 *)&rsdp;

    bytes[7] = ' ';
    for (unsigned i = 0; i < RSDP_OLD_BYTES; i++)
        rsdp.checksum = (u8)(rsdp.checksum - (i == 8 ? 0 : bytes[i]));
    for (unsigned i = 0; i < sizeof(rsdp); i++)
        rsdp.extended_checksum = (u8)(rsdp.extended_checksum - (i == 32 ? 0 : bytes[i]));
    if (spoil >= 0)
        bytes[spoil] ^= 0x40;
    tag_add(type, &rsdp, type == TAG_RSDP_NEW ? 36 : 20);
}

static void prefers_the_new_rsdp(void **state)
{
    for (int order = 0; order < 2; order++) {
        tags_begin(state);
        rsdp_add(order ? TAG_RSDP_OLD : TAG_RSDP_NEW, order ? 0 : 2, -1);
        rsdp_add(order ? TAG_RSDP_NEW : TAG_RSDP_OLD, order ? 2 : 0, -1);
        ram_add();
        assert_int_equal(parse(), 0);
        assert_true(info.has_rsdp);
        assert_int_equal(info.rsdp_bytes[15], 2);
        assert_int_equal(info.rsdp_bytes[24], 0x78);
        assert_int_equal(info.rsdp, TAGS_HPA + (order ? 48 : 16));
    }
}

static void takes_the_rsdp_that_is_whole(void **state)
{
    static const int spoiled[] = {0, 3, 8, 16, 20, 24, 32};

    for (unsigned i = 0; i < ARRAY_SIZE(spoiled); i++) {
        tags_begin(state);
        rsdp_add(TAG_RSDP_NEW, 2, spoiled[i]);
        rsdp_add(TAG_RSDP_OLD, 0, -1);
        ram_add();
        assert_int_equal(parse(), 0);
        assert_true(info.has_rsdp);
        assert_int_equal(info.rsdp_bytes[15], 0);
        assert_int_equal(info.rsdp_bytes[24], 0);
        assert_non_null(strstr(why, "new ACPI RSDP"));
    }
    tags_begin(state);
    rsdp_add(TAG_RSDP_OLD, 0, 9);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_false(info.has_rsdp);
    assert_int_equal(info.rsdp, 0);
}

static void knows_efi(void **state)
{
    (void)state;
    tag_add(TAG_EFI64, "12345678", 8);
    ram_add();
    assert_int_equal(parse(), 0);
    assert_true(info.efi);
    tags_begin(state);
    tag_add(TAG_EFI_BOOT_SERVICES, NULL, 0);
    ram_add();
    assert_int_equal(parse(), -EINVAL);
    assert_non_null(strstr(why, "boot services"));
}

/* ---------------------------------------------------------------- the chain */

static void refuses_a_broken_chain(void **state)
{
    static const u32 sizes[] = {0, 7, 0x7fffffff, 0xfffffff9, 0xffffffff};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        tags_begin(state);
        ram_add();
        tag_add(1, "x", 2);
        memcpy(tags + used - 16 + 4, &sizes[i], 4);
        assert_int_equal(parse(), -EINVAL);
        assert_non_null(strstr(why, "has size"));
    }
}

static void refuses_tags_without_end(void **state)
{
    (void)state;
    ram_add();
    assert_int_equal(parse_only(sizeof(tags)), -EINVAL);
    assert_non_null(strstr(why, "no end tag"));
    tags_begin(state);
    assert_int_equal(parse_only(sizeof(tags)), -EINVAL);
    assert_non_null(strstr(why, "no end tag"));
}

static void refuses_sizes_beyond_the_limit(void **state)
{
    u32 total = 7;

    (void)state;
    ram_add();
    tag_add(TAG_END, NULL, 0);
    assert_int_equal(parse_only(used), 0);
    assert_int_equal(parse_only(used - 1), -EINVAL);
    memcpy(tags, &total, 4);
    assert_int_equal(multiboot2_parse(tags, sizeof(tags), &info, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "have 7 bytes"));
}

static void names_tags_that_are_too_short(void **state)
{
    static const u32 types[] = {TAG_MODULE, TAG_FRAMEBUFFER};

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        tags_begin(state);
        tag_add(types[i], "1234", 4);
        tag_add(TAG_MEMORY_MAP, "1234", 4);
        tag_add(TAG_BASIC_MEMORY, "1234", 4);
        tag_add(TAG_RSDP_NEW, NULL, 0);
        ram_add();
        assert_int_equal(parse(), 0);
        assert_non_null(strstr(why, "has 12 bytes"));
    }
}

#define TEST(name) cmocka_unit_test_setup(name, tags_begin)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(gives_what_grub_gives),
        TEST(cuts_a_long_command_line),
        TEST(ignores_strings_without_end),
        TEST(ignores_modules_that_lie),
        TEST(takes_as_many_modules_as_it_can_name),
        TEST(sorts_and_joins_the_map),
        TEST(lets_what_is_not_ram_win),
        TEST(survives_ranges_at_the_end_of_the_world),
        TEST(loses_memory_rather_than_inventing_it),
        TEST(falls_back_to_the_efi_map),
        TEST(prefers_the_plain_map),
        TEST(falls_back_to_basic_memory),
        TEST(refuses_a_machine_without_ram),
        TEST(takes_a_framebuffer),
        TEST(ignores_a_framebuffer_that_lies),
        TEST(prefers_the_new_rsdp),
        TEST(takes_the_rsdp_that_is_whole),
        TEST(knows_efi),
        TEST(refuses_a_broken_chain),
        TEST(refuses_tags_without_end),
        TEST(refuses_sizes_beyond_the_limit),
        TEST(names_tags_that_are_too_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
