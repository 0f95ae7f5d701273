/* SPDX-License-Identifier: MIT */
/* Why a VMX guest stopped: the CPU's words, for exit.c and exit_light.c. Intel SDM 3D, appendix C. */
#ifndef ARCH_X86_VMX_REASONS_H
#define ARCH_X86_VMX_REASONS_H

#include "hv/lib/types.h"

/* Basic exit reasons (appendix C). */
enum basic_reason {
    REASON_EXCEPTION_NMI = 0,
    REASON_INTERRUPT = 1,
    REASON_TRIPLE_FAULT = 2,
    REASON_INIT = 3,
    REASON_INTERRUPT_WINDOW = 7,
    REASON_NMI_WINDOW = 8,
    REASON_TASK_SWITCH = 9,
    REASON_CPUID = 10,
    REASON_GETSEC = 11,
    REASON_HLT = 12,
    REASON_INVD = 13,
    REASON_RDPMC = 15,
    REASON_RSM = 17,
    REASON_VMCALL = 18,
    REASON_VMCLEAR = 19,
    REASON_VMLAUNCH = 20,
    REASON_VMPTRLD = 21,
    REASON_VMPTRST = 22,
    REASON_VMREAD = 23,
    REASON_VMRESUME = 24,
    REASON_VMWRITE = 25,
    REASON_VMXOFF = 26,
    REASON_VMXON = 27,
    REASON_CR = 28,
    REASON_IO = 30,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_MWAIT = 36,
    REASON_MONITOR = 39,
    REASON_PAUSE = 40,
    REASON_TPR_THRESHOLD = 43,
    REASON_APIC_ACCESS = 44,
    REASON_EPT_VIOLATION = 48,
    REASON_INVEPT = 50,
    REASON_PREEMPTION_TIMER = 52,
    REASON_INVVPID = 53,
    REASON_WBINVD = 54,
    REASON_XSETBV = 55,
    REASON_APIC_WRITE = 56,
    REASON_COUNT = 64,
};
#define REASON_BASIC        BITS(15, 0)
#define REASON_ENTRY_FAILED BIT(31)

/* Qualification of a port access (table 28-5): size - 1 in 2:0, port 31:16. */
#define PORT_IN     BIT(3)
#define PORT_STRING BIT(4)
#define PORT_REP    BIT(5)

#endif
