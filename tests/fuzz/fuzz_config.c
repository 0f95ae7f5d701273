/* SPDX-License-Identifier: MIT */
/* Any bytes as lintel.conf: what comes out is either right or told. */
// sources: hv/operator/config.c hv/operator/config_values.c hv/storage/partition.c
#include <stdlib.h>
#include <string.h>

#include "hv/operator/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config config;
static unsigned sentences;
static u8 image[4 * 512];

static void hear(const char *sentence)
{
    sentences++;
    if (strncmp(sentence, "lintel.conf:", 12) != 0 || strlen(sentence) > 511)
        abort();
}

/* What the rest of lintel takes for granted about a VM. */
static void check(const struct vm_config *vm)
{
    bool pages = vm->page_limit == PAGE_SIZE || vm->page_limit == SIZE_2M || vm->page_limit == SIZE_1G;

    if (!vm->name[0] || strnlen(vm->name, sizeof(vm->name)) == sizeof(vm->name) || !vm->kernel.start ||
        vm->vcpus < 1 || vm->vcpus > VM_VCPUS_MAX || vm->weight < 1 || vm->weight > 10000 || vm->cap > 3200)
        abort();
    if (strnlen(vm->cmdline, sizeof(vm->cmdline)) == sizeof(vm->cmdline) || !pages)
        abort();
    if (vm->disk_count > VM_DISKS_MAX)
        abort();
    for (u32 i = 0; i < vm->disk_count; i++)
        if (!vm->disks[i].file.start + !vm->disks[i].bytes + !vm->disks[i].host != 2)
            abort();
    for (u32 i = 0; i < vm->disk_count; i++) /* a partition of m, whose only one this is */
        if (strncmp(vm->disks[i].name, "m/part", 6) == 0 &&
            (vm->disks[i].file.start != image + 2 * 512 || vm->disks[i].file.size != 2 * 512))
            abort();
    if (vm->memory < 64ull << 20 || vm->memory % PAGE_SIZE || !vm->line)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct boot_file files[] = {
        {"k", (const u8 *)"k", 1}, {"i", (const u8 *)"i", 1}, {"m", image, sizeof(image)}};
    u32 i;

    image[446 + 4] = 0x83; /* an MBR with one partition */
    image[446 + 8] = image[446 + 12] = 2;
    image[510] = 0x55;
    image[511] = 0xaa;

    sentences = 0;
    config_parse("lintel.conf", (const char *)data, size, files, 3, &config, hear);
    if (config.vm_count > VM_MAX || (config.errors == 0) != (sentences == 0) ||
        (!config.vm_count && !config.errors))
        abort();
    for (i = 0; i < config.vm_count; i++)
        check(&config.vms[i]);
    return 0;
}
