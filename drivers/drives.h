/* SPDX-License-Identifier: MIT */
/*
 * The machine's drives, found at boot when the configuration names one of their kind, and not touched
 * otherwise. Names are places, not counts of what is there: virtio:N the Nth virtio-blk function on PCI,
 * ahci:N port N of all AHCI controllers one after the other, ide:N master and slave of the first and second
 * channel. So a drive that is missing renames no other.
 */
#ifndef DRIVERS_DRIVES_H
#define DRIVERS_DRIVES_H

#include "hv/operator/config.h"
#include "hv/storage/drive.h"

/*
 * Start all of each kind that a disk or CD drive of a VM is of. Boot CPU, after host_pci_init and sched_init.
 */
void host_drives_start(const struct config *config);

/* One function for each kind: drive_register for each of its drives. */
void host_virtio_blk_start(void);
void host_ahci_start(void);
void host_ide_start(void);

/* Memory that a driver shares with its hardware: a zeroed page below end (0: anywhere), or NULL. */
void *host_drive_page(hpa_t end, hpa_t *hpa);

#endif
