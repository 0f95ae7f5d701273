/* SPDX-License-Identifier: MIT */
/*
 * Is this CPU's SVM good enough, and what may be used of it? Pure: values in, a sentence out, so that a unit
 * test shows what no emulator can (SVM locked off by firmware). AMD APM 2, 15.4, 15.30.1 (VM_CR); APM 3,
 * appendix E.4.9 (CPUID 8000000A).
 */
#include "arch/x86/svm/svm.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

#define SVM_EDX_NESTED_PAGING   BIT(0)
#define SVM_EDX_NEXT_RIP        BIT(3)
#define SVM_EDX_CLEAN           BIT(5)
#define SVM_EDX_FLUSH_BY_ASID   BIT(6)
#define SVM_EDX_DECODE_ASSISTS  BIT(7)
#define SVM_EDX_PAUSE_FILTER    BIT(10)
#define SVM_EDX_PAUSE_THRESHOLD BIT(12)

struct svm_features svm_features;

/*
 * Is this CPU good enough? From values alone, so that a unit test shows what no emulator can: vm_cr as read
 * from VM_CR. Fills svm_features. 0, or -ENODEV (none), -EPERM (locked off), -ENOTSUP (no nested paging) with
 * a sentence in why.
 */
int svm_decide(const struct cpuid *leaf, u32 extended_max, bool svm, u64 vm_cr, char *why, size_t size)
{
    if (!svm || extended_max < CPUID_SVM_LEAF) {
        snprintf(why, size, "the CPU has no SVM (CPUID 80000001 ECX bit 2 is clear)");
        return -ENODEV;
    }
    if (vm_cr & VM_CR_SVMDIS) {
        snprintf(why, size,
                 "SVM is locked off by the firmware (VM_CR is %#llx, bit 4 is set): switch on SVM or "
                 "\"virtualization\" in the firmware's setup",
                 (unsigned long long)vm_cr);
        return -EPERM;
    }
    if (!(leaf->edx & SVM_EDX_NESTED_PAGING)) {
        snprintf(why, size,
                 "SVM has no nested paging (CPUID 8000000A EDX is %#x, bit 0 is clear), which lintel needs",
                 leaf->edx);
        return -ENOTSUP;
    }
    svm_features = (struct svm_features){
        .asids = leaf->ebx,
        .nested_paging = true,
        .next_rip = leaf->edx & SVM_EDX_NEXT_RIP,
        .decode_assists = leaf->edx & SVM_EDX_DECODE_ASSISTS,
        .flush_by_asid = leaf->edx & SVM_EDX_FLUSH_BY_ASID,
        .pause_filter = leaf->edx & SVM_EDX_PAUSE_FILTER,
        .pause_threshold = leaf->edx & SVM_EDX_PAUSE_THRESHOLD,
        .clean_mask = leaf->edx & SVM_EDX_CLEAN ? CLEAN_ALL : 0,
    };
    if (svm_features.asids >= 2)
        return 0;
    snprintf(why, size, "SVM offers %u address space identifiers, lintel needs at least 2",
             svm_features.asids);
    return -ENOTSUP;
}
