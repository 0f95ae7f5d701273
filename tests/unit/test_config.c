/* SPDX-License-Identifier: MIT */
/* lintel.conf: the values it gives, and every sentence about a mistake in it. */
// sources: hv/operator/config.c hv/operator/config_values.c hv/storage/partition.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/operator/config.h"

static struct config config;
static char said[80][600];
static unsigned said_count;

static const struct boot_file files[] = {
    {"vmlinuz", (const u8 *)"k", 1},
    {"initrd.img", (const u8 *)"ii", 2},
    {"empty", (const u8 *)"", 0},
};

static void hear(const char *sentence)
{
    assert_true(said_count < 80);
    assert_true(strlen(sentence) < sizeof(said[0]));
    strcpy(said[said_count++], sentence);
}

/* Parse from memory that ends exactly where the text does, so that the sanitizer sees a byte too many. */
static void parse_bytes(const char *text, size_t size)
{
    char *copy = malloc(size ? size : 1);

    memcpy(copy, text, size);
    said_count = 0;
    config_parse("lintel.conf", copy, size, files, 3, &config, hear);
    free(copy);
}

static void parse(const char *text)
{
    parse_bytes(text, strlen(text));
}

static void test_defaults(void **state)
{
    const struct vm_config *vm = &config.vms[0];

    (void)state;
    parse("[vm web]\nkernel = vmlinuz\ninitrd = initrd.img");
    assert_int_equal(said_count, 0);
    assert_int_equal(config.errors, 0);
    assert_int_equal(config.vm_count, 1);
    assert_string_equal(config.console, "com1");
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.shutdown_grace, 10);
    assert_string_equal(vm->name, "web");
    assert_string_equal(vm->kernel_name, "vmlinuz");
    assert_ptr_equal(vm->kernel.start, files[0].start);
    assert_int_equal(vm->initrd.size, 2);
    assert_string_equal(vm->cmdline, "console=ttyS0");
    assert_int_equal(vm->memory, 256 << 20);
    assert_int_equal(vm->balloon_min, 64 << 20);
    assert_int_equal(vm->balloon_max, 256 << 20);
    assert_int_equal(vm->balloon_forms, BALLOON_2M);
    assert_int_equal(vm->vcpus, 1);
    assert_int_equal(vm->vcpus_on, 1);
    assert_int_equal(vm->weight, 256);
    assert_int_equal(vm->cap, 0);
    assert_true(vm->cpus == 0);
    assert_int_equal(vm->personality, PERSONALITY_KVM);
    assert_false(vm->prefault);
    assert_false(vm->virtio_console);
    assert_false(vm->virtio_rng);
    assert_int_equal(vm->balloon, BALLOON_VMWARE);
    assert_true(vm->hypercall_patch);
    assert_false(vm->p2m_shared);
    assert_int_equal(vm->page_limit, SIZE_1G);
    assert_int_equal(vm->line, 1);
}

static void test_every_key(void **state)
{
    const struct vm_config *vm = &config.vms[0];

    (void)state;
    parse("; first a comment\r\n"
          "[hypervisor]\r\n"
          "\tconsole\t=\tcom3 # the third\r\n"
          "log=debug\r\n"
          "\r\n"
          "  [ vm  a.B-9_ ]  ; a name\r\n"
          "kernel = \"vmlinuz\" # quoted\r\n"
          "kernel.unpack = yes\r\n"
          "cmdline = \" a#b ; c=\"\t; behind\r\n"
          "memory = 65548K\r\n"
          "balloon.min = 65540K\r\n"
          "balloon.max = 65548K\r\n"
          "balloon.forms = batch\r\n"
          "vcpus = 32\r\n"
          "vcpus.start = 1,3-4,31\r\n"
          "weight = 10000\r\n"
          "cap = 150\r\n"
          "cpus = 0-2,5,63\r\n"
          "personality = none\r\n"
          "prefault = yes\r\n"
          "virtio.console = yes\n"
          "virtio.rng = yes\n"
          "balloon = virtio\n"
          "hypercall_patch = no\r\n"
          "pages = 2m\r\n"
          "p2m = shared\r\n");
    assert_int_equal(said_count, 0);
    assert_int_equal(config.vm_count, 1);
    assert_string_equal(config.console, "com3");
    assert_int_equal(config.log_level, LOG_DEBUG);
    assert_string_equal(vm->name, "a.B-9_");
    assert_string_equal(vm->cmdline, " a#b ; c=");
    assert_int_equal(vm->memory, 65548u << 10);
    assert_int_equal(vm->balloon_min, 65540u << 10);
    assert_int_equal(vm->balloon_max, 65548u << 10);
    assert_int_equal(vm->balloon_forms, BALLOON_BATCH);
    assert_int_equal(vm->vcpus, 32);
    assert_int_equal(vm->vcpus_on, 0x8000001a);
    assert_int_equal(vm->weight, 10000);
    assert_int_equal(vm->cap, 150);
    assert_true(vm->cpus == (1ull << 63 | 0x27));
    assert_int_equal(vm->personality, PERSONALITY_NONE);
    assert_true(vm->prefault);
    assert_true(vm->virtio_console);
    assert_true(vm->virtio_rng);
    assert_int_equal(vm->balloon, BALLOON_VIRTIO);
    assert_false(vm->hypercall_patch);
    assert_true(vm->p2m_shared);
    assert_int_equal(vm->page_limit, SIZE_2M);
    assert_string_equal(vm->initrd_name, "");
    assert_null(vm->initrd.start);
}

/* A comment needs white space before it: these characters are part of values otherwise. */
static void test_comment_inside_value(void **state)
{
    (void)state;
    parse("[vm a]\nkernel=vmlinuz\ncmdline=a;b#c d=\"e # f\" g # gone\n");
    assert_int_equal(said_count, 0);
    assert_string_equal(config.vms[0].cmdline, "a;b#c d=\"e # f\" g");
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        u64 bytes; /* 0: wrong */
    } rows[] = {
        {"67108864", 64ull << 20},
        {"64M", 64ull << 20},
        {"1G", 1ull << 30},
        {"65536G", 1ull << 46},
        {"65537G", 0},
        {"63M", 0},
        {"0", 0},
        {"", 0},
        {"M", 0},
        {"64m", 0},
        {"64MB", 0},
        {"-64M", 0},
        {"0x4000000", 0},
        {"67108865", 0},
        {"65537K", 0},
        {"999999999999G", 0},
        {"9999999999999", 0},
        {"18446744073709551616G", 0},
        {"64 M", 0},
    };
    char text[128];
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), "[vm a]\nkernel=vmlinuz\nmemory=%s\n", rows[i].text);
        parse(text);
        assert_int_equal(config.vm_count, rows[i].bytes ? 1 : 0);
        if (rows[i].bytes)
            assert_int_equal(config.vms[0].memory, rows[i].bytes);
    }
}

#define VM "[vm web]\nkernel = vmlinuz\n"
#define KEYS                                                                                           \
    "kernel, kernel.unpack, initrd, cmdline, disk, write, cdrom, virtio.console, virtio.rng, memory, " \
    "balloon, balloon.min, balloon.max, balloon.forms, vcpus, vcpus.start, weight, cap, cpus, "        \
    "personality, prefault, hypercall_patch, pages, p2m"
#define CDROM " is wrong; right would be a file, ram:SIZE such as ram:64M, a drive such as ahci:1, or empty"
#define VCPUS " is wrong; right would be numbers of vCPUs from 0 to 31 such as 0 or 0-2,5"
#define NINE  "aaaaaaaaa"
#define FILES "vmlinuz, initrd.img, empty"
#define DISK \
    " is wrong; right would be a file or drive such as ahci:1, its /part2, or ram:SIZE such as ram:64M"
#define CPUS " is wrong; right would be numbers of CPUs from 0 to 63 such as 2 or 0-2,5"

/* One mistake each; text, sentence, VMs that are left. */
static const struct {
    const char *text, *sentence;
    unsigned vms;
} mistakes[] = {
    {"", "1: no VM is described; right would be a section [vm NAME] with kernel = FILE", 0},
    {"# nothing\n[hypervisor]\n",
     "2: no VM is described; right would be a section [vm NAME] with kernel = FILE", 0},
    {"log = debug\n" VM,
     "1: \"log\" stands before any section; right would be [hypervisor] or [vm NAME] above it", 1},
    {VM "[disk]\nsize = 4\n", "3: [disk] opens no section; right would be [hypervisor] or [vm NAME]", 1},
    {VM "[vm\n", "3: [vm opens no section; right would be [hypervisor] or [vm NAME]", 1},
    {VM "[]\n", "3: [] opens no section; right would be [hypervisor] or [vm NAME]", 1},
    {VM "[\n", "3: [ opens no section; right would be [hypervisor] or [vm NAME]", 1},
    {VM "[vm]\n", "3: [vm] opens no section; right would be [hypervisor] or [vm NAME]", 1},
    {VM "[vm a b]\n",
     "3: \"a b\" can't be the name of a VM; right would be 1 to 31 of letters, digits, - _ ., not - alone",
     1},
    {VM "[vm " NINE NINE NINE "12345]\n",
     "3: \"" NINE NINE NINE
     "12345\" can't be the name of a VM; right would be 1 to 31 of letters, digits, - _ ., not - alone",
     1},
    {VM "[vm -]\n",
     "3: \"-\" can't be the name of a VM; right would be 1 to 31 of letters, digits, - _ ., not - alone", 1},
    {VM "[vm a/b]\nkernel = x\n",
     "3: \"a/b\" can't be the name of a VM; right would be 1 to 31 of letters, digits, - _ ., not - alone",
     1},
    {VM VM, "3: vm web: this name was given in line 1 already; right would be a name of its own", 1},
    {"[hypervisor]\n[hypervisor]\nlog = x\n" VM,
     "2: there is a section [hypervisor] already; right would be one alone", 1},
    {VM "nonsense\n", "3: vm web: \"nonsense\" is neither a section nor a value; right would be KEY = VALUE",
     0},
    {VM "colour = red\n", "3: vm web: there is no key \"colour\"; right would be one of " KEYS, 0},
    {VM "= red\n", "3: vm web: there is no key \"\"; right would be one of " KEYS, 0},
    {VM "log = info\n", "3: vm web: there is no key \"log\"; right would be one of " KEYS, 0},
    {"[hypervisor]\nkernel = vmlinuz\n" VM,
     "2: hypervisor: there is no key \"kernel\"; right would be one of console, log, "
     "shutdown.grace, media.poll_ms, media.file",
     1},
    {VM "memory = 64M\nmemory = 65M\n", "4: vm web: memory was given in line 3 already; right would be once",
     0},
    {VM "memory = lots\n",
     "3: vm web: memory = lots is wrong; right would be a size from 64M on "
     "such as 512M or 2G, a multiple of 4K",
     0},
    {VM "vcpus = 0\n", "3: vm web: vcpus = 0 is wrong; right would be a number from 1 to 32", 0},
    {VM "vcpus = 33\n", "3: vm web: vcpus = 33 is wrong; right would be a number from 1 to 32", 0},
    {VM "vcpus =\n", "3: vm web: vcpus =  is wrong; right would be a number from 1 to 32", 0},
    {VM "weight = 0\n", "3: vm web: weight = 0 is wrong; right would be a number from 1 to 10000", 0},
    {VM "cap = 3201\n", "3: vm web: cap = 3201 is wrong; right would be a number from 0 to 3200", 0},
    {VM "vcpus.start = 32\n", "3: vm web: vcpus.start = 32" VCPUS, 0},
    {VM "vcpus.start =\n", "3: vm web: vcpus.start = " VCPUS, 0},
    {VM "vcpus.start = 1-0\n", "3: vm web: vcpus.start = 1-0" VCPUS, 0},
    {VM "vcpus.start = 0-1\n",
     "3: vm web: vcpus.start names a vCPU that vcpus = 1 does not give; right would be numbers below that",
     0},
    {VM "vcpus.start = 2\nvcpus = 2\n",
     "3: vm web: vcpus.start names a vCPU that vcpus = 2 does not give; right would be numbers below that",
     0},
    {VM "cpus = 64\n", "3: vm web: cpus = 64" CPUS, 0},
    {VM "cpus = 2-1\n", "3: vm web: cpus = 2-1" CPUS, 0},
    {VM "cpus = 1,\n", "3: vm web: cpus = 1," CPUS, 0},
    {VM "cpus = ,1\n", "3: vm web: cpus = ,1" CPUS, 0},
    {VM "cpus = 1-\n", "3: vm web: cpus = 1-" CPUS, 0},
    {VM "cpus = 1-2-3\n", "3: vm web: cpus = 1-2-3" CPUS, 0},
    {VM "cpus = all\n", "3: vm web: cpus = all" CPUS, 0},
    {VM "cpus =\n", "3: vm web: cpus = " CPUS, 0},
    {VM "personality = xen\n", "3: vm web: personality = xen is wrong; right would be kvm, vmware or none",
     0},
    {VM "personality = vmware none\n",
     "3: vm web: personality = vmware none is wrong; right would be kvm, vmware or none", 0},
    {VM "personality = kv\n", "3: vm web: personality = kv is wrong; right would be kvm, vmware or none", 0},
    {VM "prefault = 1\n", "3: vm web: prefault = 1 is wrong; right would be yes or no", 0},
    {VM "kernel.unpack = maybe\n", "3: vm web: kernel.unpack = maybe is wrong; right would be yes or no", 0},
    {VM "pages = 2M\n", "3: vm web: pages = 2M is wrong; right would be 4k, 2m or 1g", 0},
    {"[hypervisor]\nshutdown.grace = 601\n" VM,
     "2: hypervisor: shutdown.grace = 601 is wrong; right would be a number of seconds from 0 to 600", 1},
    {"[hypervisor]\nconsole = com5\n" VM,
     "2: hypervisor: console = com5 is wrong; right would be com1, com2, com3 or com4", 1},
    {"[hypervisor]\nlog = loud\n" VM,
     "2: hypervisor: log = loud is wrong; right would be error, warning, info or debug", 1},
    {VM "initrd =\n", "3: vm web: initrd =  is wrong; right would be the name of an initramfs", 0},
    {VM "initrd = two words\n",
     "3: vm web: initrd = two words is wrong; right would be the name of an initramfs", 0},
    {VM "initrd = other\n",
     "3: vm web: initrd = other is not among the boot files; right would be one of " FILES, 0},
    {"[vm web]\n\nkernel = vmlinux\n",
     "3: vm web: kernel = vmlinux is not among the boot files; right would be one of " FILES, 0},
    {VM "memory = 128M\nballoon.max = 129M\n",
     "4: vm web: balloon.max = 129M is more than memory = 128M; right would be at most that", 0},
    {VM "memory = 128M\nballoon.min = 131076K\n",
     "4: vm web: balloon.min = 131076K is more than balloon.max = 128M; right would be at most that", 0},
    {VM "prefault = yes\nmemory = 128M\nballoon.max = 100M\n",
     "3: vm web: prefault = yes gives all of memory, and balloon.max does not promise it; right would be "
     "one of the two",
     0},
    {"\n[vm web]\nmemory = 64M\n\n", "2: vm web: no kernel is named; right would be a line kernel = FILE", 0},
    {"[vm web]\nkernel = \"\"\n",
     "2: vm web: kernel =  is wrong; right would be the name of a bzImage or a PVH ELF file", 0},
    {VM "cmdline = \"quiet\n",
     "3: vm web: the quote is not closed; right would be a second \" at the end of the value", 0},
    {VM "cmdline = \"\n",
     "3: vm web: the quote is not closed; right would be a second \" at the end of the value", 0},
    {VM "cmdline = \"a\" b\n",
     "3: vm web: \" b\" stands behind the closing quote; right would be nothing there", 0},
    {VM "cmdline = gr\xc3\xbc\xc3\x9f\n",
     "3: vm web: byte 0xc3 in column 13 is no text; right would be printable ASCII", 0},
    {VM "# bell \a\n", "3: vm web: byte 0x07 in column 8 is no text; right would be printable ASCII", 0},
    {"[hypervisor]\rlog = info\n" VM, "1: byte 0x0d in column 13 is no text; right would be printable ASCII",
     1},
    {VM "disk = ram:\n", "3: vm web: disk = ram:" DISK, 0},
    {VM "disk = ram:0\n", "3: vm web: disk = ram:0" DISK, 0},
    {VM "disk = ram:5000\n", "3: vm web: disk = ram:5000" DISK, 0},
    {VM "disk = ram:9999999G\n", "3: vm web: disk = ram:9999999G" DISK, 0},
    {VM "disk = a b\n", "3: vm web: disk = a b" DISK, 0},
    {VM "disk = ram:4K\ndisk = gone\n",
     "4: vm web: disk = gone is not among the boot files; right would be one of " FILES, 0},
    {VM "disk = virtio:\n", "3: vm web: disk = virtio:" DISK, 0},
    {VM "disk = virtio:01\n", "3: vm web: disk = virtio:01" DISK, 0},
    {VM "disk = ahci:100\n", "3: vm web: disk = ahci:100" DISK, 0},
    {VM "disk = ide:1/part0\n", "3: vm web: disk = ide:1/part0" DISK, 0},
    {VM "cdrom = virtio:0\n", "3: vm web: cdrom = virtio:0" CDROM, 0},
    {VM "cdrom = ide:1/part1\n", "3: vm web: cdrom = ide:1/part1" CDROM, 0},
    {VM "cdrom = ide:\n", "3: vm web: cdrom = ide:" CDROM, 0},
    {VM "cdrom = ahci:01\n", "3: vm web: cdrom = ahci:01" CDROM, 0},
    {VM "cdrom = ide:1\ncdrom = empty\ncdrom = ide:1\n",
     "5: vm web: cdrom = ide:1 is what VM web has by line 3; right would be a drive of its own", 0},
    {VM "cdrom = ahci:1\n[vm b]\nkernel = vmlinuz\ncdrom = ahci:11\ncdrom = ahci:1\n",
     "7: vm b: cdrom = ahci:1 is what VM web has by line 3; right would be a drive of its own", 1},
    {VM "disk = ide:1/part01\n", "3: vm web: disk = ide:1/part01" DISK, 0},
    {VM "disk = ide:1/part\n", "3: vm web: disk = ide:1/part" DISK, 0},
    {VM "disk = ide:1/2\n", "3: vm web: disk = ide:1/2" DISK, 0},
    {VM "write = yes\n",
     "3: vm web: write stands above every disk; right would be below the disk that it is about", 0},
    {VM "disk = ide:1\nwrite = 1\n",
     "4: vm web: write = 1 is wrong; right would be yes or no, below the disk that it is about", 0},
    {VM "disk = ide:1\nwrite = no\nwrite = yes\n",
     "5: vm web: write was given in line 4 already; right would be once for each disk", 0},
    {VM "disk = ram:4K\nwrite = yes\n",
     "4: vm web: write is for drives of the machine; right would be to leave it away, as what is written to "
     "disk = ram:4K goes to memory",
     0},
    {VM "disk = ide:1\n[vm b]\nkernel = vmlinuz\ndisk = ide:1/part2\nwrite = yes\n",
     "6: vm b: disk = ide:1/part2 is what VM web has by line 3, and one of the two writes; right would be a "
     "drive or partition of its own, or write = no in both places",
     1},
    {VM "disk = ide:1/part2\nwrite = yes\ndisk = ide:1\n",
     "5: vm web: disk = ide:1 is what VM web has by line 3, and one of the two writes; right would be a "
     "drive or partition of its own, or write = no in both places",
     0},
    {VM "disk = ide:1\ncdrom = empty\nwrite = yes\n[vm b]\nkernel = vmlinuz\ndisk = ide:1\n",
     "8: vm b: disk = ide:1 is what VM web has by line 3, and one of the two writes; right would be a "
     "drive or partition of its own, or write = no in both places",
     1},
    {VM "disk = empty\n",
     "3: vm web: disk = empty is an empty file; right would be an image, or ram:SIZE for a blank disk", 0},
    {"\xef\xbb\xbf" VM, "1: byte 0xef in column 1 is no text; right would be printable ASCII", 1},
};

static void test_mistakes(void **state)
{
    char expected[600];
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(mistakes); i++) {
        parse(mistakes[i].text);
        snprintf(expected, sizeof(expected), "lintel.conf:%s", mistakes[i].sentence);
        if (said_count && strcmp(said[0], expected) != 0)
            print_message("row %zu\n", i);
        assert_true(said_count >= 1);
        assert_string_equal(said[0], expected);
        /* The BOM takes the section's header with it, so that the lines below have none. */
        if (mistakes[i].text[0] != '\xef') {
            assert_int_equal(said_count, 1);
            assert_int_equal(config.vm_count, mistakes[i].vms);
        }
    }
}

static void test_drives(void **state)
{
    const struct vm_config *vm = &config.vms[0];

    (void)state;
    parse(VM "disk = virtio:0/part12\nwrite = yes\ndisk = ahci:31\ndisk = virtio:0/part1\nwrite = yes\n"
             "[vm b]\nkernel = vmlinuz\ndisk = ahci:31\nwrite = no\ndisk = ahci:3\nwrite = yes\n");
    assert_int_equal(said_count, 0);
    assert_int_equal(vm->disk_count, 3);
    for (u32 i = 0; i < 3; i++) {
        assert_true(vm->disks[i].host);
        assert_int_equal(vm->disks[i].write, i != 1);
        assert_int_equal(vm->disks[i].bytes, 0);
        assert_null(vm->disks[i].file.start);
    }
    assert_string_equal(vm->disks[0].name, "virtio:0/part12");
    assert_false(config.vms[1].disks[0].write);
    assert_true(config.vms[1].disks[1].write);
}

/* Files and blank disks, in their order; what is wrong with them is told with its line. */
static void test_disks(void **state)
{
    char text[400] = VM;
    const struct vm_config *vm = &config.vms[0];

    (void)state;
    parse(VM "disk = initrd.img\ndisk = ram:64M\ndisk = initrd.img\ndisk = ram:4K\n");
    assert_int_equal(said_count, 0);
    assert_int_equal(vm->disk_count, 4);
    assert_ptr_equal(vm->disks[0].file.start, files[1].start);
    assert_int_equal(vm->disks[0].bytes, 0);
    assert_null(vm->disks[1].file.start);
    assert_int_equal(vm->disks[1].bytes, 64 << 20);
    assert_string_equal(vm->disks[1].name, "ram:64M");
    assert_int_equal(vm->disks[2].file.size, 2);
    assert_int_equal(vm->disks[3].bytes, 4096);
    for (unsigned i = 0; i < VM_DISKS_MAX; i++)
        strcat(text, "disk = ram:4K\n");
    parse(text);
    assert_int_equal(said_count, 0);
    assert_int_equal(vm->disk_count, VM_DISKS_MAX);
    strcat(text, "disk = ram:4K\n");
    parse(text);
    assert_int_equal(said_count, 1);
    assert_string_equal(
        said[0], "lintel.conf:11: vm web: disk is given once too often; right would be at most 8 times");
    parse(VM "disk = ram:4K\n[vm b]\nkernel = vmlinuz\ndisk = ram:8K\n");
    assert_int_equal(config.vms[1].disk_count, 1);
}

/*
 * A file with an MBR of two partitions, and one that is called as a partition would be: the file's name goes
 * before.
 */
static void test_partitions_of_files(void **state)
{
    static u8 image[64 * 512 + 100];
    const struct boot_file some[] = {
        {"vmlinuz", (const u8 *)"k", 1}, {"d/a.img", image, sizeof(image)}, {"d/a.img/part3", image, 7}};
    static const struct {
        const char *disk, *sentence;
    } wrong[] = {
        {"d/a.img/part4", "d/a.img/part4 names no partition of d/a.img; right would be one of part1, part2"},
        {"d/a.img/part33",
         "d/a.img/part33 names no partition of d/a.img; right would be one of part1, part2"},
        {"vmlinuz/part1",
         "vmlinuz/part1 names no partition of vmlinuz, which has no table; right would be vmlinuz"},
        {"ram:4K/part1",
         "ram:4K/part1 is wrong; right would be ram:SIZE without a partition, as a blank disk has no table "
         "when it begins"},
        {"d/a.img/part0",
         "d/a.img/part0 is not among the boot files; right would be one of vmlinuz, d/a.img, "
         "d/a.img/part3"},
        {"a.img/part1", "a.img/part1 is not among the boot files; right would be one of vmlinuz, d/a.img, "
                        "d/a.img/part3"},
    };
    const struct vm_disk *disks = config.vms[0].disks;
    char text[200], expected[300];

    (void)state;
    image[446 + 4] = image[462 + 4] = 0x83;
    image[446 + 8] = 3, image[446 + 12] = 5;
    image[462 + 8] = 60, image[462 + 12] = 4;
    image[510] = 0x55, image[511] = 0xaa;
    said_count = 0;
    snprintf(text, sizeof(text), "%s%s", VM,
             "disk = d/a.img/part2\ndisk = d/a.img/part1\ndisk = d/a.img\ndisk = d/a.img/part3\n");
    config_parse("lintel.conf", text, strlen(text), some, 3, &config, hear);
    assert_int_equal(said_count, 0);
    assert_ptr_equal(disks[0].file.start, image + 60 * 512);
    assert_int_equal(disks[0].file.size, 4 * 512);
    assert_ptr_equal(disks[0].file.name, disks[0].name);
    assert_string_equal(disks[0].name, "d/a.img/part2");
    assert_ptr_equal(disks[1].file.start, image + 3 * 512);
    assert_int_equal(disks[1].file.size, 5 * 512);
    assert_int_equal(disks[2].file.size, sizeof(image));
    assert_int_equal(disks[3].file.size, 7);
    for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
        said_count = 0;
        snprintf(text, sizeof(text), "%sdisk = %s\n", VM, wrong[i].disk);
        config_parse("lintel.conf", text, strlen(text), some, 3, &config, hear);
        snprintf(expected, sizeof(expected), "lintel.conf:3: vm web: disk = %s", wrong[i].sentence);
        assert_string_equal(said[0], expected);
        assert_int_equal(config.vm_count, 0);
    }
    image[462 + 8] = 61; /* its last sector would be the file's incomplete one */
    said_count = 0;
    snprintf(text, sizeof(text), "%sdisk = d/a.img/part2\n", VM);
    config_parse("lintel.conf", text, strlen(text), some, 3, &config, hear);
    assert_string_equal(said[0],
                        "lintel.conf:3: vm web: disk = d/a.img/part2 names no partition of d/a.img, whose "
                        "table has a partition that does not lie on the drive, which is left out; right "
                        "would be one of part1");
}

static void test_cdroms(void **state)
{
    const struct vm_config *vm = &config.vms[0];

    (void)state;
    parse("[hypervisor]\nmedia.file = a.iso\nmedia.file = b.iso\nmedia.poll_ms = 0\n" VM
          "cdrom = initrd.img\ncdrom = empty\ncdrom = ram:1M\ncdrom = empty\n");
    assert_int_equal(said_count, 0);
    assert_int_equal(config.media_poll_ms, 0);
    assert_int_equal(vm->cdrom_count, VM_CDROMS_MAX);
    assert_ptr_equal(vm->cdroms[0].file.start, files[1].start);
    assert_null(vm->cdroms[1].file.start); /* though there is a file of that name */
    assert_int_equal(vm->cdroms[1].bytes, 0);
    assert_int_equal(vm->cdroms[2].bytes, 1 << 20);
    parse(VM "cdrom = ahci:31\ncdrom = ide:0\ndisk = ahci:31\n[vm b]\nkernel = vmlinuz\ncdrom = ide:1\n");
    assert_int_equal(said_count, 0); /* which of them is a CD drive is known at boot alone */
    assert_true(vm->cdroms[0].host && vm->cdroms[1].host && config.vms[1].cdroms[0].host);
    assert_string_equal(vm->cdroms[1].name, "ide:0");
    parse(VM "cdrom = empty\ncdrom = empty\ncdrom = empty\ncdrom = empty\ncdrom = empty\n");
    assert_string_equal(
        said[0], "lintel.conf:7: vm web: cdrom is given once too often; right would be at most 4 times");
    parse(VM "cdrom = gone\n");
    assert_non_null(strstr(said[0], "lintel.conf:3: vm web: cdrom = gone is not among the boot files"));
    parse(VM);
    assert_int_equal(config.media_poll_ms, 2000);
}

static void test_others_stay(void **state)
{
    (void)state;
    parse("[vm a]\nkernel = vmlinuz\n[vm b]\nkernel = gone\nmemory = 0\n"
          "[vm c]\nkernel = vmlinuz\nmemory = 128M\n");
    assert_int_equal(config.vm_count, 2);
    assert_int_equal(config.errors, 2);
    assert_string_equal(config.vms[0].name, "a");
    assert_string_equal(config.vms[1].name, "c");
    assert_int_equal(config.vms[1].memory, 128 << 20);
    assert_string_equal(said[0],
                        "lintel.conf:5: vm b: memory = 0 is wrong; right would be a size from 64M on such as "
                        "512M or 2G, a multiple of 4K");
    assert_string_equal(
        said[1], "lintel.conf:4: vm b: kernel = gone is not among the boot files; right would be one of "
                 "vmlinuz, initrd.img, empty");
}

static void test_no_files(void **state)
{
    (void)state;
    said_count = 0;
    config_parse("lintel.conf", VM, strlen(VM), NULL, 0, &config, hear);
    assert_string_equal(
        said[0], "lintel.conf:2: vm web: kernel = vmlinuz is not among the boot files; right would be a "
                 "file that a module2 line of grub.cfg loads");
}

static void test_nul_byte(void **state)
{
    (void)state;
    parse_bytes("[vm a]\nkernel = vmlinuz\0\n", 24);
    assert_string_equal(
        said[0], "lintel.conf:2: vm a: byte 0x00 in column 17 is no text; right would be printable ASCII");
    assert_int_equal(config.vm_count, 0);
}

static void test_cmdline_length(void **state)
{
    char text[2300];
    size_t length;

    (void)state;
    for (length = 2046; length <= 2048; length++) {
        int used = snprintf(text, sizeof(text), VM "cmdline = ");

        memset(text + used, 'x', length);
        parse_bytes(text, (size_t)used + length);
        assert_int_equal(config.vm_count, length <= 2047);
        if (length <= 2047)
            assert_int_equal(strlen(config.vms[0].cmdline), length);
        else
            assert_string_equal(
                said[0], "lintel.conf:3: vm web: cmdline = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                         "... is wrong; right would be at most 2047 characters");
    }
}

static void test_too_many(void **state)
{
    static char text[8192];
    size_t used = 0;
    unsigned i;

    (void)state;
    for (i = 0; i < 66; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "[vm v%u]\nkernel = vmlinuz\n", i);
    parse(text);
    assert_int_equal(config.vm_count, 64);
    assert_string_equal(config.vms[63].name, "v63");
    assert_int_equal(said_count, 2);
    assert_string_equal(said[0],
                        "lintel.conf:129: vm v64: this is one VM too many; right would be at most 64");
}

static void test_flood(void **state)
{
    static char text[1000];

    (void)state;
    memset(text, '\n', sizeof(text));
    for (size_t i = 0; i < sizeof(text); i += 2)
        text[i] = 'x';
    parse_bytes(text, sizeof(text));
    assert_int_equal(config.errors, 501);
    assert_int_equal(said_count, 65);
    assert_string_equal(said[64], "lintel.conf: 437 more mistakes are not shown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_comment_inside_value),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_partitions_of_files),
        cmocka_unit_test(test_drives),
        cmocka_unit_test(test_cdroms),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test(test_cmdline_length),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
