/* SPDX-License-Identifier: MIT */
/*
 * The debug build's proof that nobody forgets a clean bit: a field that changed although its bit says
 * otherwise would be ignored by a CPU that caches; here it is a panic. AMD APM 2, 15.15. The vCPU's own CPU.
 */
#include "arch/x86/svm/svm.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

#ifdef LINTEL_DEBUG
void svm_clean_check(const struct svm_vcpu *svm)
{
#define CHECK_FIELD(name, type, member, bit)                                                            \
    if ((svm->clean & (bit)) && memcmp(&svm->vmcb.member, &svm->last.member, sizeof(svm->vmcb.member))) \
        panic("VMCB field " #name " changed under a set clean bit");
    VMCB_CACHED_FIELDS(CHECK_FIELD)
#undef CHECK_FIELD
}

void svm_clean_remember(struct svm_vcpu *svm, u32 set)
{
    svm->clean |= set;
    svm->last = svm->vmcb;
}
#endif
