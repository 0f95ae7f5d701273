/* SPDX-License-Identifier: MIT */
/* What lintel says about an exception of its own. */
#ifndef ARCH_X86_MACHINE_EXCEPTION_REPORT_H
#define ARCH_X86_MACHINE_EXCEPTION_REPORT_H

#include "arch/x86/machine/exception.h"

/* Panic, with the registers and the back trace of the place where the exception happened. */
NORETURN void exception_report(const struct exception_frame *frame);

#endif
