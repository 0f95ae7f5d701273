/* SPDX-License-Identifier: MIT */
/*
 * lintel.conf: INI text in, struct config out. Every mistake is a sentence with file, line, what is wrong,
 * what would be right; a VM with a mistake is not built, the others are. Pure but for the error callback.
 * Boot CPU.
 */
#ifndef HV_OPERATOR_CONFIG_H
#define HV_OPERATOR_CONFIG_H

#include "hv/lib/log.h"
#include "hv/run/vm_config.h"

struct config {
    enum log_level log_level;
    char console[16];   /* com1 .. com4 */
    u32 shutdown_grace; /* seconds */
    u32 media_poll_ms;  /* 0: off */
    u32 vm_count;       /* VMs without mistakes */
    u32 errors;
    struct vm_config vms[VM_MAX];
};

/* error gets one sentence at a time: "lintel.conf:7: ...". files: the modules, to resolve names. */
void config_parse(const char *name, const char *text, size_t size, const struct boot_file *files,
                  unsigned file_count, struct config *config, void (*error)(const char *sentence));

#endif
