/* SPDX-License-Identifier: MIT */
/*
 * A CD drive of the machine that no VM has: the operator's, who sees it in `media list`, ejects it, and may
 * have it polled. By itself nobody asks it for anything, so that it costs nothing: when the operator looks,
 * it is looked at.
 */
#ifndef HV_STORAGE_CD_SPARE_H
#define HV_STORAGE_CD_SPARE_H

struct drive;

/* A CD drive is there, or has been given back. Boot CPU, no lock held. */
void cd_spare_begin(struct drive *drive);
/* It is a VM's from here on. Likewise. */
void cd_spare_end(struct drive *drive);

#endif
