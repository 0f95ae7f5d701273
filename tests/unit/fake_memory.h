/* SPDX-License-Identifier: MIT */
/*
 * A machine's memory for host tests: sparse "RAM" of FAKE_RAM bytes behind phys_to_virt, the p2m windows with
 * a TLB that remembers until it is told to forget, and a panic that a test can expect.
 */
#ifndef TESTS_UNIT_FAKE_MEMORY_H
#define TESTS_UNIT_FAKE_MEMORY_H

#include "hv/memory/frame.h"
#include <setjmp.h>

#define FAKE_RAM     (8ull << 30)
#define FAKE_WINDOWS 3u

/* Map everything (first call) and make RAM unwritten again, which reads as zero. */
void fake_memory_reset(void);
/*
 * Let 2 MiB of real memory stand for all of [start, end): for tests that clear large frames. 2 MiB aligned.
 */
void fake_memory_alias(hpa_t start, hpa_t end);
/*
 * Before each test that uses the allocator or a window: the first call starts the allocator over [1 MiB, 1
 * GiB) and [4 GiB, 8 GiB), all open. The TLB is empty; cmocka takes the signals between tests, so they are
 * taken back.
 */
void fake_memory_begin(void);
/* Leave but `spare` frames to whoever asks, by promising the others; and let go of them again. */
void fake_memory_make_short(u64 spare);
void fake_memory_make_plenty(void);

/*
 * Call written() behind every single instruction that has written to RAM, whatever wrote: RAM is read-only
 * meanwhile, and each write is stepped over. NULL: no more.
 */
void fake_memory_record(void (*written)(void));

extern u64 fake_tlb_fills;
/* The TLB forgets nothing when told, as another CPU's does not. */
extern bool fake_tlb_is_remote;
extern u64 fake_window_entries[];

/* EXPECT_PANIC(statement): the statement must panic. Locks it held stay taken. */
extern jmp_buf *fake_panic_expected;
#define EXPECT_PANIC(statement)                   \
    do {                                          \
        jmp_buf fake_panic_back;                  \
        fake_panic_expected = &fake_panic_back;   \
        if (setjmp(fake_panic_back) == 0) {       \
            statement;                            \
            fail_msg("no panic: %s", #statement); \
        }                                         \
        fake_panic_expected = NULL;               \
    } while (0)

#endif
