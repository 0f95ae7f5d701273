/* SPDX-License-Identifier: MIT */
/* VMMCALL: every number is answered by -ENOSYS (-38), and nothing but RAX changes. docs/abi.md. */
#include "lib/io.h"
#include "lib/tap.h"

static s64 call(u64 number, u64 *rbx, u64 *rcx)
{
    s64 result = (s64)number;

    asm volatile("vmmcall" : "+a"(result), "+b"(*rbx), "+c"(*rcx) : : "memory");
    return result;
}

void guest_main(void)
{
    static const u64 numbers[] = {0, 1, 5, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, ~0ull};
    u64 rbx = 0x1111, rcx = 0x2222;
    unsigned i;
    int vector;

    plan(ARRAY_SIZE(numbers) + 2);
    for (i = 0; i < ARRAY_SIZE(numbers); i++) {
        s64 result = call(numbers[i], &rbx, &rcx);

        ok(result == -38, "number %lx is answered by %ld", numbers[i], result);
    }
    ok(rbx == 0x1111 && rcx == 0x2222, "arguments come back unchanged");
    vector = TRY("vmrun %%rax", : : "a"(0) : "memory");
    ok(vector == VECTOR_UD, "a guest has no SVM of its own: vmrun raises %d", vector);
}
