/* SPDX-License-Identifier: MIT */
/* MSI-X (contract in the header). Called by guest/devices/virtio.c with the device's lock held. */
#include "guest/devices/msix.h"

#include "guest/machine.h"
#include "hv/lib/string.h"

enum { WORD_ADDRESS, WORD_ADDRESS_HIGH, WORD_DATA, WORD_CONTROL };

#define CONTROL_MASKED PCI_MSIX_ENTRY_CTRL_MASKBIT

/* Only what lies in this MiB of memory is a message to local APICs. */
#define ADDRESS_APIC    0xfee00000u
#define ADDRESS_MASK    0xfff00000u
#define ADDRESS_LOGICAL BIT(2)

static u16 flags_get(const struct msix *msix)
{
    return pci_config_16(msix->device, msix->capability + PCI_MSIX_FLAGS);
}

bool msix_is_on(const struct msix *msix)
{
    return flags_get(msix) & PCI_MSIX_FLAGS_ENABLE;
}

static bool is_masked(const struct msix *msix, unsigned vector)
{
    return (flags_get(msix) & PCI_MSIX_FLAGS_MASKALL) ||
           (msix->entries[vector].words[WORD_CONTROL] & CONTROL_MASKED);
}

static void message_send(const struct msix *msix, const struct msix_entry *entry)
{
    u32 address = entry->words[WORD_ADDRESS], data = entry->words[WORD_DATA];
    u8 destination = (u8)(address >> 12);
    struct lapic_message message = {
        .destination = destination == 0xff ? LAPIC_BROADCAST : destination,
        .logical = (address & ADDRESS_LOGICAL) != 0,
        .mode = data >> 8 & 7,
        .vector = (u8)data,
    };

    if ((address & ADDRESS_MASK) == ADDRESS_APIC && entry->words[WORD_ADDRESS_HIGH] == 0)
        lapic_deliver(msix->device->machine->vm, &message);
}

void msix_raise(struct msix *msix, unsigned vector)
{
    if (vector >= msix->count)
        return;
    if (is_masked(msix, vector) || !pci_is_master(msix->device))
        msix->pending |= (u32)BIT(vector);
    else
        message_send(msix, &msix->entries[vector]);
}

void msix_look(struct msix *msix)
{
    u32 pending = msix->pending;

    if (!pending || !msix_is_on(msix))
        return;
    msix->pending = 0;
    for (unsigned vector = 0; vector < msix->count; vector++)
        if (pending & BIT(vector))
            msix_raise(msix, vector);
}

u32 msix_read_table(const struct msix *msix, u32 offset)
{
    u32 vector = offset / PCI_MSIX_ENTRY_SIZE;

    return vector < msix->count ? msix->entries[vector].words[offset % PCI_MSIX_ENTRY_SIZE / 4] : 0;
}

void msix_write_table(struct msix *msix, u32 offset, u32 value)
{
    u32 vector = offset / PCI_MSIX_ENTRY_SIZE, word = offset % PCI_MSIX_ENTRY_SIZE / 4;

    if (vector >= msix->count)
        return;
    msix->entries[vector].words[word] = word == WORD_CONTROL ? value & CONTROL_MASKED : value;
    msix_look(msix);
}

u32 msix_read_pending(const struct msix *msix, u32 offset)
{
    return offset == 0 ? msix->pending : 0;
}

void msix_reset(struct msix *msix)
{
    msix->pending = 0;
    memset(msix->entries, 0, sizeof(msix->entries));
    for (unsigned vector = 0; vector < msix->count; vector++)
        msix->entries[vector].words[WORD_CONTROL] = CONTROL_MASKED;
}

void msix_init(struct msix *msix, struct pci_device *device, u8 capability, u8 next, u32 count, u32 table,
               u32 pending)
{
    *msix = (struct msix){.device = device, .capability = capability, .count = count};
    pci_config_set(device, capability, 1, PCI_CAP_ID_MSIX);
    pci_config_set(device, capability + 1u, 1, next);
    pci_config_set(device, capability + PCI_MSIX_FLAGS, 2, count - 1);
    pci_config_set(device, capability + PCI_MSIX_TABLE, 4, table);
    pci_config_set(device, capability + PCI_MSIX_PBA, 4, pending);
    pci_config_allow(device, capability + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
}
