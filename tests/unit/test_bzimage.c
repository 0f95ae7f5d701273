/* SPDX-License-Identifier: MIT */
/* The bzImage loader: what it puts where, each header field that can lie, and the initrd's place. */
// sources: guest/load/load.c guest/load/bzimage.c guest/load/elf_pvh.c guest/load/start_state.c
// sources: hv/lib/printf.c tests/unit/fake_guest_ram.c tests/unit/fake_kernels.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <asm/bootparam.h>

#include "arch/x86/machine/cpu.h"
#include "guest/load/load.h"
#include "hv/lib/errno.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_kernels.h"

#define MIB 0x100000ull

static struct vm_config config;
static struct guest_memory memory;
static struct vcpu_state cpu;
static char why[160];
static u8 *file; /* ends where the allocation does */
static u8 initrd[5000];

static struct setup_header *header(void)
{
    return (struct setup_header *)(file + 0x1f1);
}

static void kernel_make(void)
{
    free(file);
    file = fake_bzimage();
    config = (struct vm_config){
        .name = "web",
        .kernel_name = "vmlinuz",
        .kernel = {"vmlinuz", file, FAKE_BZIMAGE_SIZE},
        .initrd_name = "initrd.img",
        .initrd = {"initrd.img", initrd, sizeof(initrd)},
        .cmdline = "console=ttyS0",
        .memory = 64 * MIB,
    };
}

static int load(void)
{
    const struct load request = {
        .config = &config, .memory = &memory, .rsdp = 0xe0000, .why = why, .why_size = sizeof(why)};

    fake_guest_ram_reset(&memory, config.memory);
    why[0] = 0;
    memset(&cpu, 0xaa, sizeof(cpu));
    return load_guest(&request, &cpu);
}

static const struct boot_params *zero_page(void)
{
    return (const struct boot_params *)fake_guest_ram_at(cpu.regs.gpr[RSI]);
}

static int setup(void **state)
{
    (void)state;
    memset(initrd, 0x5a, sizeof(initrd));
    kernel_make();
    return 0;
}

static void test_places(void **state)
{
    const struct boot_params *params;

    (void)state;
    assert_int_equal(load(), 0);
    params = zero_page();
    assert_memory_equal(fake_guest_ram_at(FAKE_KERNEL_AT), file + FAKE_CODE_AT, FAKE_CODE_SIZE);
    assert_int_equal(params->hdr.header, 0x53726448);
    assert_int_equal(params->hdr.type_of_loader, 0xff);
    assert_int_equal(params->sentinel, 0);
    assert_int_equal(params->acpi_rsdp_addr, 0xe0000);
    assert_string_equal((char *)fake_guest_ram_at(params->hdr.cmd_line_ptr), "console=ttyS0");
    assert_int_equal(params->hdr.ramdisk_size, sizeof(initrd));
    assert_int_equal(params->hdr.ramdisk_image, 64 * MIB - 0x2000);
    assert_memory_equal(fake_guest_ram_at(params->hdr.ramdisk_image), initrd, sizeof(initrd));
    assert_int_equal(params->e820_entries, memory.region_count);
    for (unsigned i = 0; i < memory.region_count; i++) {
        assert_int_equal(params->e820_table[i].addr, memory.regions[i].start);
        assert_int_equal(params->e820_table[i].addr + params->e820_table[i].size, memory.regions[i].end);
        assert_int_equal(params->e820_table[i].type, memory.regions[i].type);
    }
}

/* Follow the page tables as the CPU would; 2 MiB pages. */
static u64 translate(u64 address)
{
    const u64 *table = (const u64 *)fake_guest_ram_at(cpu.registers[REGISTER_CR3]);

    for (unsigned shift = 39; shift > 21; shift -= 9) {
        u64 entry = table[address >> shift & 511];

        assert_int_equal(entry & 0x83, 0x03);
        table = (const u64 *)fake_guest_ram_at(entry & PAGE_MASK);
    }
    assert_int_equal(table[address >> 21 & 511] & 0x83, 0x83);
    return (table[address >> 21 & 511] & ~(SIZE_2M - 1)) | (address & (SIZE_2M - 1));
}

static void test_state(void **state)
{
    const u64 *gdt;

    (void)state;
    assert_int_equal(load(), 0);
    assert_int_equal(cpu.regs.rip, FAKE_KERNEL_AT + 0x200);
    assert_int_equal(cpu.registers[REGISTER_CR0], CR0_PG | CR0_NE | CR0_ET | CR0_PE);
    assert_int_equal(cpu.registers[REGISTER_CR4], CR4_PAE);
    assert_int_equal(cpu.registers[REGISTER_EFER], EFER_LME | EFER_LMA);
    assert_int_equal(cpu.registers[REGISTER_RFLAGS], 2);
    assert_int_equal(cpu.segments[SEGMENT_CS].selector, 0x10);
    assert_int_equal(cpu.segments[SEGMENT_CS].attributes, 0xa9b);
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        if (i != SEGMENT_CS) {
            assert_int_equal(cpu.segments[i].selector, 0x18);
            assert_int_equal(cpu.segments[i].attributes, 0xc93);
        }
    gdt = (const u64 *)fake_guest_ram_at(cpu.gdtr.base);
    assert_int_equal(cpu.gdtr.limit, 31);
    assert_int_equal(gdt[2], 0x00af9b000000ffff);
    assert_int_equal(gdt[3], 0x00cf93000000ffff);
    for (u64 address = 0; address < SIZE_4G; address += SIZE_1G / 2 + 0x12345)
        assert_int_equal(translate(address), address);
}

/* What is changed in the good kernel, and a word of the sentence that it must end in. */
static void lie_magic(void)
{
    file[0x202] = 'X';
}
static void lie_flag(void)
{
    header()->boot_flag = 0;
}
static void lie_version(void)
{
    header()->version = 0x20b;
}
static void lie_entry(void)
{
    header()->xloadflags = 0;
}
static void lie_low(void)
{
    header()->loadflags = 0;
}
static void lie_jump(void)
{
    header()->jump = 0x6a90;
}
static void lie_jump_far(void)
{
    header()->jump = 0xffeb;
}
static void lie_sectors(void)
{
    header()->setup_sects = 255;
}
static void lie_syssize(void)
{
    header()->syssize++;
}
static void lie_syssize_huge(void)
{
    header()->syssize = 0xffffffff;
}
static void lie_syssize_none(void)
{
    header()->syssize = 0;
}
static void lie_payload(void)
{
    header()->payload_offset = FAKE_CODE_SIZE - 0xfff;
}
static void lie_payload_huge(void)
{
    header()->payload_length = header()->payload_offset = 0xffffffff;
}
static void lie_align_none(void)
{
    header()->kernel_alignment = 0;
}
static void lie_align_odd(void)
{
    header()->kernel_alignment = 0x300000;
}
static void lie_fixed(void)
{
    header()->relocatable_kernel = 0, header()->pref_address = FAKE_KERNEL_AT + 4096;
}
static void lie_fixed_low(void)
{
    header()->relocatable_kernel = 0, header()->pref_address = 0;
}
static void lie_init_size(void)
{
    header()->init_size = FAKE_CODE_SIZE - 1;
}
static void lie_init_huge(void)
{
    header()->init_size = 0xffffffff;
}
static void lie_pref_high(void)
{
    header()->pref_address = ~0ull << 21;
}
static void lie_pref_4g(void)
{
    header()->pref_address = SIZE_4G, config.memory = 4096 * MIB;
}
static void lie_memory(void)
{
    config.memory = 20 * MIB;
}
static void lie_cmdline(void)
{
    header()->cmdline_size = 5;
}
static void lie_initrd_max(void)
{
    header()->initrd_addr_max = 0x1000;
}
static void lie_initrd_size(void)
{
    config.initrd.size = 60 * MIB;
}
static void lie_initrd_missing(void)
{
    config.initrd.start = NULL;
}
static void lie_initrd_empty(void)
{
    config.initrd.size = 0;
}
static void lie_missing(void)
{
    config.kernel.start = NULL;
}
static void lie_short(void)
{
    config.kernel.size = 0x28f;
}
static void lie_empty(void)
{
    config.kernel.size = 0;
}
static void lie_cut(void)
{
    config.kernel.size--;
}

static const struct {
    void (*lie)(void);
    int error;
    const char *sentence;
} lies[] = {
    {lie_magic, -EINVAL, "kernel vmlinuz (10240 bytes) is neither a bzImage nor a PVH ELF file"},
    {lie_flag, -EINVAL, "neither"},
    {lie_short, -EINVAL, "neither"},
    {lie_empty, -EINVAL, "neither"},
    {lie_missing, -ENOENT, "kernel vmlinuz is not among the modules"},
    {lie_version, -EINVAL, "protocol 2.11"},
    {lie_entry, -EINVAL, "64-bit entry"},
    {lie_low, -EINVAL, "zImage"},
    {lie_jump, -EINVAL, "ends nowhere"},
    {lie_jump_far, -EINVAL, "ends nowhere"},
    {lie_sectors, -EINVAL, "truncated"},
    {lie_syssize, -EINVAL, "truncated: 10240 bytes, and its header speaks of 10256"},
    {lie_syssize_huge, -EINVAL, "truncated"},
    {lie_syssize_none, -EINVAL, "no code"},
    {lie_cut, -EINVAL, "truncated"},
    {lie_payload, -EINVAL, "payload"},
    {lie_payload_huge, -EINVAL, "payload"},
    {lie_align_none, -EINVAL, "power of two"},
    {lie_align_odd, -EINVAL, "power of two"},
    {lie_fixed, -EINVAL, "can't be"},
    {lie_fixed_low, -EINVAL, "can't be"},
    {lie_init_size, -EINVAL, "less than its"},
    {lie_init_huge, -ENOMEM, "64 MiB of memory do not have"},
    {lie_pref_high, -ENOMEM, "do not have"},
    {lie_pref_4g, -ENOMEM, "do not have"},
    {lie_memory, -ENOMEM, "20 MiB of memory do not have"},
    {lie_cmdline, -EINVAL, "command line of 5 bytes"},
    {lie_initrd_max, -ENOMEM, "initrd initrd.img (5000 bytes) does not fit"},
    {lie_initrd_size, -ENOMEM, "does not fit"},
    {lie_initrd_missing, -ENOENT, "initrd initrd.img is not among the modules"},
    {lie_initrd_empty, -EINVAL, "is empty"},
};

static void test_lies(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
        kernel_make();
        lies[i].lie();
        assert_int_equal(load(), lies[i].error);
        if (!strstr(why, lies[i].sentence))
            fail_msg("\"%s\" does not say \"%s\"", why, lies[i].sentence);
    }
}

/* A kernel that may move goes to the first aligned place at or above its preferred one. */
static void test_relocatable(void **state)
{
    (void)state;
    header()->pref_address = 0x1000;
    assert_int_equal(load(), 0);
    assert_int_equal(cpu.regs.rip, 0x200000 + 0x200);
    kernel_make();
    header()->relocatable_kernel = 0;
    assert_int_equal(load(), 0);
    assert_int_equal(cpu.regs.rip, FAKE_KERNEL_AT + 0x200);
}

/* Trailing bytes, such as a signature's, are no lie; 0 sectors mean 4. */
static void test_odd_but_right(void **state)
{
    (void)state;
    header()->syssize -= 16;
    assert_int_equal(load(), 0);
    kernel_make();
    header()->setup_sects = 0;
    header()->syssize = (FAKE_CODE_SIZE - 512) / 16;
    assert_int_equal(load(), 0);
    assert_memory_equal(fake_guest_ram_at(FAKE_KERNEL_AT), file + FAKE_CODE_AT + 512, FAKE_CODE_SIZE - 512);
}

static void test_initrd_places(void **state)
{
    (void)state;
    /* Above the limit of the kernel there is no place, however much RAM there is. */
    config.memory = 4096 * MIB;
    assert_int_equal(load(), 0);
    assert_int_equal(zero_page()->hdr.ramdisk_image, 0x80000000 - 0x2000);
    /* No room above the kernel: below it. */
    config.memory = FAKE_KERNEL_AT + FAKE_INIT_SIZE;
    assert_int_equal(load(), 0);
    assert_int_equal(zero_page()->hdr.ramdisk_image, FAKE_KERNEL_AT - 0x2000);
    config.initrd_name[0] = 0;
    config.initrd = (struct boot_file){0};
    assert_int_equal(load(), 0);
    assert_int_equal(zero_page()->hdr.ramdisk_image, 0);
    assert_int_equal(zero_page()->hdr.ramdisk_size, 0);
}

/* Only as much of the header as the image has: the rest of its setup part is code. */
static void test_header_size(void **state)
{
    (void)state;
    header()->jump = 0x20eb;
    header()->kernel_info_offset = 0x12345678;
    assert_int_equal(load(), 0);
    assert_int_equal(zero_page()->hdr.kernel_info_offset, 0);
    kernel_make();
    header()->kernel_info_offset = 0x12345678;
    assert_int_equal(load(), 0);
    assert_int_equal(zero_page()->hdr.kernel_info_offset, 0x12345678);
}

static void test_host_memory_short(void **state)
{
    const struct load request = {
        .config = &config, .memory = &memory, .rsdp = 0xe0000, .why = why, .why_size = sizeof(why)};

    (void)state;
    fake_guest_ram_reset(&memory, config.memory);
    fake_guest_ram_full = 0x7000;
    assert_int_equal(load_guest(&request, &cpu), -ENOMEM);
    assert_non_null(strstr(why, "kernel vmlinuz can't be put into memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_places, setup),
        cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_lies, setup),
        cmocka_unit_test_setup(test_relocatable, setup),
        cmocka_unit_test_setup(test_odd_but_right, setup),
        cmocka_unit_test_setup(test_initrd_places, setup),
        cmocka_unit_test_setup(test_header_size, setup),
        cmocka_unit_test_setup(test_host_memory_short, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
