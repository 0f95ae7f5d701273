/* SPDX-License-Identifier: MIT */
/* Which kinds of drives are started (drives.h), and what their drivers share. */
#include "drivers/drives.h"

#include "hv/lib/string.h"

static const struct {
    const char *kind;
    void (*start)(void);
} kinds[] = {
    {"virtio:", host_virtio_blk_start},
    {"ahci:", host_ahci_start},
    {"ide:", host_ide_start},
};

static bool is_of(const struct vm_disk *drives, u32 count, const char *kind)
{
    for (u32 i = 0; i < count; i++)
        if (drives[i].host && strncmp(drives[i].name, kind, strlen(kind)) == 0)
            return true;
    return false;
}

static bool is_named(const struct config *config, const char *kind)
{
    for (u32 i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vms[i];

        if (is_of(vm->disks, vm->disk_count, kind) || is_of(vm->cdroms, vm->cdrom_count, kind))
            return true;
    }
    return false;
}

void host_drives_start(const struct config *config)
{
    for (u32 i = 0; i < ARRAY_SIZE(kinds); i++)
        if (is_named(config, kinds[i].kind))
            kinds[i].start();
}

void *host_drive_page(hpa_t end, hpa_t *hpa)
{
    mfn_t mfn = frame_alloc(FRAME_ORDER_4K, FRAME_OWNER_HYPERVISOR);

    if (mfn == MFN_INVALID)
        return NULL;
    *hpa = mfn << PAGE_SHIFT;
    if (!end || *hpa < end)
        return phys_to_virt(*hpa);
    frame_free(mfn, FRAME_ORDER_4K, FRAME_OWNER_HYPERVISOR);
    return NULL;
}
