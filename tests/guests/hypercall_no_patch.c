/* SPDX-License-Identifier: MIT */
/* hypercall_patch = no: the foreign instruction is performed each time, and stays as it is. */
// conf: hypercall_patch = no
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

extern volatile u8 vmcall_site[], vmmcall_site[];

static __attribute__((noinline)) s64 call(u64 number)
{
    u64 result = number;

    asm volatile(".globl vmcall_site\nvmcall_site: vmcall" : "+a"(result) : "b"(0) : "memory");
    if ((s64)result < 0)
        return (s64)result;
    result = number;
    asm volatile(".globl vmmcall_site\nvmmcall_site: vmmcall" : "+a"(result) : "b"(0) : "memory");
    return (s64)result;
}

void guest_main(void)
{
    unsigned right = 0, i;

    plan(3);
    for (i = 0; i < 1000; i++)
        right += call(LINTEL_CALL_VERSION) == LINTEL_ABI_VERSION;
    ok(right == 1000, "1,000 calls by each instruction: %u", right);
    ok(vmcall_site[2] == 0xc1, "VMCALL is not rewritten: %x", vmcall_site[2]);
    ok(vmmcall_site[2] == 0xd9, "VMMCALL is not rewritten: %x", vmmcall_site[2]);
}
