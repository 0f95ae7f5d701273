/* SPDX-License-Identifier: MIT */
/*
 * The boot information of a multiboot2 loader: tags of 8-byte alignment, one after the other. Multiboot2
 * specification 2.0, section 3.6; where its figures and GRUB differ (the framebuffer tag's reserved field has
 * 16 bits), GRUB is followed.
 */
#ifndef BOOT_MULTIBOOT2_H
#define BOOT_MULTIBOOT2_H

#include "hv/lib/types.h"

#define MULTIBOOT2_LOADED 0x36d76289 /* in EAX at the entry */

enum multiboot2_tag_type {
    TAG_END = 0,
    TAG_CMDLINE = 1,
    TAG_LOADER = 2,
    TAG_MODULE = 3,
    TAG_BASIC_MEMORY = 4,
    TAG_MEMORY_MAP = 6,
    TAG_FRAMEBUFFER = 8,
    TAG_EFI32 = 11,
    TAG_EFI64 = 12,
    TAG_RSDP_OLD = 14,
    TAG_RSDP_NEW = 15,
    TAG_EFI_MAP = 17,
    TAG_EFI_BOOT_SERVICES = 18, /* present: the firmware still owns the machine */
};

struct multiboot2_info {
    u32 total_size, reserved;
};
_Static_assert(sizeof(struct multiboot2_info) == 8, "3.6.1");

struct multiboot2_tag {
    u32 type, size; /* size: with this header, without the padding behind */
};
_Static_assert(sizeof(struct multiboot2_tag) == 8, "3.6.2");

struct multiboot2_module {
    struct multiboot2_tag tag;
    u32 start, end;
    /* a string follows */
};
_Static_assert(sizeof(struct multiboot2_module) == 16, "3.6.6");

struct multiboot2_basic_memory {
    struct multiboot2_tag tag;
    u32 lower_kib, upper_kib; /* from 0 and from 1 MiB */
};
_Static_assert(sizeof(struct multiboot2_basic_memory) == 16, "3.6.4");

/* The memory map and the EFI memory map begin alike. */
struct multiboot2_map {
    struct multiboot2_tag tag;
    u32 entry_size, entry_version;
};
_Static_assert(sizeof(struct multiboot2_map) == 16, "3.6.8, 3.6.17");

#define MEMORY_AVAILABLE 1
struct multiboot2_map_entry {
    u64 start, bytes;
    u32 type, reserved;
};
_Static_assert(sizeof(struct multiboot2_map_entry) == 24, "3.6.8");

/* UEFI 2.9, 7.2, EFI_MEMORY_DESCRIPTOR. */
enum efi_memory_type {
    EFI_LOADER_CODE = 1,
    EFI_LOADER_DATA = 2,
    EFI_BOOT_SERVICES_CODE = 3,
    EFI_BOOT_SERVICES_DATA = 4,
    EFI_CONVENTIONAL = 7,
};
struct efi_memory_descriptor {
    u32 type, padding;
    u64 start, virtual_start, pages, attributes;
};
_Static_assert(sizeof(struct efi_memory_descriptor) == 40, "UEFI 2.9, 7.2");

/*
 * What every framebuffer tag has (type: FRAMEBUFFER_... of drivers/framebuffer.h), and the colours that
 * follow RGB's.
 */
struct multiboot2_framebuffer {
    struct multiboot2_tag tag;
    u64 address;
    u32 pitch, width, height;
    u8 bits_per_pixel, type;
    u16 reserved;
} PACKED;
_Static_assert(sizeof(struct multiboot2_framebuffer) == 32, "3.6.12");
struct multiboot2_framebuffer_rgb {
    u8 red_position, red_size, green_position, green_size, blue_position, blue_size;
};
_Static_assert(sizeof(struct multiboot2_framebuffer_rgb) == 6, "3.6.12");

/* ACPI 6.4, 5.2.5.3: 20 bytes in revision 0, 36 from revision 2 on. */
struct acpi_rsdp {
    u8 signature[8];
    u8 checksum, oem[6], revision;
    u32 rsdt, length;
    u64 xsdt;
    u8 extended_checksum, reserved[3];
} PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4, table 5.3");
#define RSDP_OLD_BYTES 20

#endif
