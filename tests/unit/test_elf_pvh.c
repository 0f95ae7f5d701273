/* SPDX-License-Identifier: MIT */
/*
 * The PVH loader: ELF of both classes, the start info that a kernel finds, and each field of the file that
 * can lie.
 */
// sources: guest/load/load.c guest/load/bzimage.c guest/load/elf_pvh.c guest/load/start_state.c
// sources: hv/lib/printf.c tests/unit/fake_guest_ram.c tests/unit/fake_kernels.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/elf-em.h>
#include <linux/elf.h>

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
static u8 *file;
static u8 initrd[0x1800];

struct start_info {
    u32 magic, version, flags, modules;
    u64 module_list, cmdline, rsdp, map;
    u32 map_entries, reserved;
};

static Elf64_Ehdr *header(void)
{
    return (Elf64_Ehdr *)file;
}

static Elf64_Phdr *segment(unsigned index)
{
    return (Elf64_Phdr *)(file + sizeof(Elf64_Ehdr)) + index;
}

static void config_fill(void)
{
    config = (struct vm_config){
        .name = "web",
        .kernel_name = "vmlinux",
        .kernel = {"vmlinux", file, FAKE_ELF_SIZE},
        .initrd_name = "initrd.img",
        .initrd = {"initrd.img", initrd, sizeof(initrd)},
        .cmdline = "console=ttyS0 quiet",
        .memory = 128 * MIB,
    };
}

static void kernel_make(void)
{
    free(file);
    file = fake_elf64();
    config_fill();
}

static void kernel_make_32(void)
{
    free(file);
    file = fake_elf32();
    config_fill();
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

static int setup(void **state)
{
    (void)state;
    memset(initrd, 0x5a, sizeof(initrd));
    kernel_make();
    return 0;
}

static void check_start_info(void)
{
    const struct start_info *info = (const struct start_info *)fake_guest_ram_at(cpu.regs.gpr[RBX]);
    const u64 *module = (const u64 *)fake_guest_ram_at(info->module_list);
    const struct {
        u64 start, size;
        u32 type, reserved;
    } *map = (const void *)fake_guest_ram_at(info->map);

    assert_int_equal(info->magic, 0x336ec578);
    assert_int_equal(info->version, 1);
    assert_int_equal(info->rsdp, 0xe0000);
    assert_string_equal((char *)fake_guest_ram_at(info->cmdline), "console=ttyS0 quiet");
    assert_int_equal(info->modules, 1);
    assert_int_equal(module[0], 128 * MIB - 0x2000);
    assert_int_equal(module[1], sizeof(initrd));
    assert_memory_equal(fake_guest_ram_at(module[0]), initrd, sizeof(initrd));
    assert_int_equal(info->map_entries, memory.region_count);
    for (unsigned i = 0; i < memory.region_count; i++) {
        assert_int_equal(map[i].start, memory.regions[i].start);
        assert_int_equal(map[i].start + map[i].size, memory.regions[i].end);
        assert_int_equal(map[i].type, memory.regions[i].type);
    }
}

static void check_state(void)
{
    assert_int_equal(cpu.regs.rip, FAKE_ENTRY_AT);
    assert_int_equal(cpu.registers[REGISTER_CR0], CR0_PE | CR0_ET);
    assert_int_equal(cpu.registers[REGISTER_CR4], 0);
    assert_int_equal(cpu.registers[REGISTER_EFER], 0);
    assert_int_equal(cpu.registers[REGISTER_RFLAGS], 2);
    assert_int_equal(cpu.segments[SEGMENT_CS].attributes, 0xc9b);
    assert_int_equal(cpu.segments[SEGMENT_CS].limit, 0xffffffff);
    assert_int_equal(cpu.segments[SEGMENT_DS].attributes, 0xc93);
    assert_int_equal(cpu.segments[SEGMENT_TR].attributes, 0x8b);
    assert_int_equal(cpu.segments[SEGMENT_TR].limit, 0x67);
    assert_int_equal(((const u64 *)fake_guest_ram_at(cpu.gdtr.base))[2], 0x00cf9b000000ffff);
}

static void test_elf64(void **state)
{
    (void)state;
    assert_int_equal(load(), 0);
    assert_memory_equal(fake_guest_ram_at(FAKE_TEXT_AT), file + FAKE_TEXT, 0x2000);
    assert_memory_equal(fake_guest_ram_at(FAKE_DATA_AT), file + FAKE_DATA, 0x1000);
    assert_int_equal(*fake_guest_ram_at(FAKE_DATA_AT + 0x1000), 0);
    check_start_info();
    check_state();
}

static void test_elf32(void **state)
{
    (void)state;
    kernel_make_32();
    assert_int_equal(load(), 0);
    assert_memory_equal(fake_guest_ram_at(FAKE_TEXT_AT), file + FAKE_TEXT, 0x3000);
    check_start_info();
    check_state();
}

static void test_no_initrd(void **state)
{
    const struct start_info *info;

    (void)state;
    config.initrd_name[0] = 0;
    config.initrd = (struct boot_file){0};
    assert_int_equal(load(), 0);
    info = (const struct start_info *)fake_guest_ram_at(cpu.regs.gpr[RBX]);
    assert_int_equal(info->modules, 0);
    assert_int_equal(info->module_list, 0);
}

static void lie_magic(void)
{
    file[0] = 0;
}
static void lie_class(void)
{
    file[EI_CLASS] = 3;
}
static void lie_data(void)
{
    file[EI_DATA] = ELFDATA2MSB;
}
static void lie_machine(void)
{
    header()->e_machine = EM_ARM;
}
static void lie_header_size(void)
{
    header()->e_phentsize = 32;
}
static void lie_no_headers(void)
{
    header()->e_phnum = 0;
}
static void lie_many_headers(void)
{
    header()->e_phnum = 33;
}
static void lie_headers_outside(void)
{
    header()->e_phoff = FAKE_ELF_SIZE - 100;
}
static void lie_headers_wrap(void)
{
    header()->e_phoff = ~0ull - 60;
}
static void lie_cut(void)
{
    config.kernel.size = FAKE_ELF_SIZE - 1;
}
static void lie_cut_header(void)
{
    config.kernel.size = 20;
}
static void lie_offset(void)
{
    segment(0)->p_offset = ~0ull;
}
static void lie_file_size(void)
{
    segment(0)->p_filesz = ~0ull;
}
static void lie_file_larger(void)
{
    segment(0)->p_memsz = 0x1fff;
}
static void lie_memory_huge(void)
{
    segment(1)->p_memsz = ~0ull;
}
static void lie_memory_wraps(void)
{
    segment(1)->p_memsz = 0 - (u64)FAKE_DATA_AT + 0x2000;
}
static void lie_low(void)
{
    segment(0)->p_paddr = 0xff000;
}
static void lie_hole(void)
{
    segment(0)->p_paddr = 0xc0000000;
}
static void lie_above(void)
{
    segment(0)->p_paddr = SIZE_4G + FAKE_TEXT_AT;
}
static void lie_overlap(void)
{
    segment(1)->p_paddr = FAKE_TEXT_AT + 0x1fff;
}
static void lie_overlap_around(void)
{
    segment(1)->p_paddr = FAKE_TEXT_AT - 0x1000;
}
static void lie_no_note(void)
{
    segment(2)->p_type = PT_NULL;
}
static void lie_note_cut(void)
{
    segment(2)->p_filesz--;
}
static void lie_note_outside(void)
{
    segment(2)->p_offset = ~0ull - 3;
}
static void lie_note_owner(void)
{
    file[FAKE_ENTRY_NOTE + 12] = 'Y';
}
static void lie_note_name_huge(void)
{
    memset(file + FAKE_NOTES, 0xff, 4);
}
static void lie_note_description_huge(void)
{
    memset(file + FAKE_NOTES + 4, 0xff, 4);
}
static void lie_note_short(void)
{
    file[FAKE_ENTRY_NOTE + 4] = 3;
}
static void lie_entry(void)
{
    memset(file + FAKE_ENTRY_NOTE + 16, 0xee, 4);
}
static void lie_entry_high(void)
{
    file[FAKE_ENTRY_NOTE + 16 + 4] = 1;
}
static void lie_memory(void)
{
    config.memory = 20 * MIB;
}
static void lie_initrd(void)
{
    config.initrd.size = 128 * MIB;
}

static const struct {
    void (*lie)(void);
    int error;
    const char *sentence;
} lies[] = {
    {lie_magic, -EINVAL, "kernel vmlinux (16384 bytes) is neither"},
    {lie_class, -EINVAL, "no ELF file for x86"},
    {lie_data, -EINVAL, "no ELF file for x86"},
    {lie_machine, -EINVAL, "no ELF file for x86"},
    {lie_header_size, -EINVAL, "no ELF file for x86"},
    {lie_cut_header, -EINVAL, "no ELF file for x86"},
    {lie_no_headers, -EINVAL, "has 0 program headers"},
    {lie_many_headers, -EINVAL, "has 33 program headers"},
    {lie_headers_outside, -EINVAL, "program header 2 of 3 is not in it"},
    {lie_headers_wrap, -EINVAL, "program header 1 of 3 is not in it"},
    {lie_cut, -EINVAL, "truncated: 4096 bytes at 12288 are not in its 16383 bytes"},
    {lie_offset, -EINVAL, "truncated"},
    {lie_file_size, -EINVAL, "truncated"},
    {lie_file_larger, -EINVAL, "segment of 8191 bytes with 8192 bytes in the file"},
    {lie_memory_huge, -ENOMEM, "128 MiB of memory do not have"},
    {lie_memory_wraps, -ENOMEM, "do not have"},
    {lie_low, -EINVAL, "wants a segment at 0xff000"},
    {lie_hole, -ENOMEM, "do not have"},
    {lie_above, -EINVAL, "wants a segment at"},
    {lie_overlap, -EINVAL, "overlap at 0x1001fff"},
    {lie_overlap_around, -EINVAL, "overlap"},
    {lie_no_note, -EINVAL, "without a PVH entry"},
    {lie_note_cut, -EINVAL, "without a PVH entry"},
    {lie_note_outside, -EINVAL, "without a PVH entry"},
    {lie_note_owner, -EINVAL, "without a PVH entry"},
    {lie_note_name_huge, -EINVAL, "without a PVH entry"},
    {lie_note_description_huge, -EINVAL, "without a PVH entry"},
    {lie_note_short, -EINVAL, "without a PVH entry"},
    {lie_entry, -EINVAL, "PVH entry 0xeeeeeeee outside"},
    {lie_entry_high, -EINVAL, "outside"},
    {lie_memory, -ENOMEM, "20 MiB of memory do not have"},
    {lie_initrd, -ENOMEM, "initrd initrd.img"},
};

static void test_lies(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
        kernel_make();
        lies[i].lie();
        assert_int_equal(load(), lies[i].error);
        if (!strstr(why, lies[i].sentence))
            fail_msg("lie %u: \"%s\" does not say \"%s\"", i, why, lies[i].sentence);
    }
}

/* Segments without memory, and kinds that nobody loads, may say what they like. */
static void test_harmless(void **state)
{
    (void)state;
    segment(1)->p_memsz = segment(1)->p_filesz = 0;
    segment(1)->p_paddr = 0;
    assert_int_equal(load(), 0);
    segment(1)->p_type = PT_LOOS;
    segment(1)->p_memsz = ~0ull;
    assert_int_equal(load(), 0);
}

static void test_notes_aligned_to_8(void **state)
{
    static const u32 notes[] = {4, 4, 7, 0x6e6558, 1, 0, 4, 8, 18, 0x6e6558, FAKE_ENTRY_AT, 0};

    (void)state;
    memset(file + FAKE_NOTES, 0, 0x100);
    memcpy(file + FAKE_NOTES, notes, sizeof(notes));
    segment(2)->p_align = 8;
    segment(2)->p_filesz = sizeof(notes);
    assert_int_equal(load(), 0);
    check_state();
}

static void test_cmdline_longest(void **state)
{
    (void)state;
    memset(config.cmdline, 'x', VM_CMDLINE_MAX - 1);
    config.cmdline[VM_CMDLINE_MAX - 1] = 0;
    assert_int_equal(load(), 0);
    assert_int_equal(strlen((char *)fake_guest_ram_at(LOAD_CMDLINE)), VM_CMDLINE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_elf64, setup),
        cmocka_unit_test_setup(test_elf32, setup),
        cmocka_unit_test_setup(test_no_initrd, setup),
        cmocka_unit_test_setup(test_lies, setup),
        cmocka_unit_test_setup(test_harmless, setup),
        cmocka_unit_test_setup(test_notes_aligned_to_8, setup),
        cmocka_unit_test_setup(test_cmdline_longest, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
