/* SPDX-License-Identifier: MIT */
/*
 * Which locks each CPU holds, in debug builds (contract in lock.h): the order of ranks is what keeps two CPUs
 * from waiting for each other, and no test meets the moment in which they would. So each taking is compared
 * with what the CPU holds already, whether anybody else wants it or not. Nothing is linked in other builds.
 */
#include "hv/lib/lock.h"

#define CPUS     64
#define HELD_MAX 8 /* as many ranks are rarely nested */

static struct held {
    const struct spinlock *locks[HELD_MAX];
    u32 count;
} held[CPUS];
static u32 (*this_cpu)(void);
static bool ended;

static const char *const guarded[RANK_COUNT] = {[RANK_NONE] = "nothing anybody knows of",
#define LOCK_RANK_GUARDS(name, guards) [RANK_##name] = (guards),
                                                LOCK_RANKS(LOCK_RANK_GUARDS)
#undef LOCK_RANK_GUARDS
};

void lock_check_start(u32 (*cpu)(void))
{
    this_cpu = cpu;
}

void lock_check_end(void)
{
    WRITE_ONCE(ended, true);
}

static struct held *held_here(void)
{
    u32 cpu = this_cpu ? this_cpu() : 0;

    if (cpu >= CPUS)
        panic("CPU %u takes locks, and lintel knows %u CPUs", cpu, CPUS);
    return &held[cpu];
}

static const char *guards_of(const struct spinlock *lock)
{
    return guarded[lock->rank < RANK_COUNT ? lock->rank : RANK_NONE];
}

void lock_check_take(const struct spinlock *lock)
{
    struct held *here = held_here();

    if (READ_ONCE(ended))
        return;
    if (lock->rank == RANK_NONE || lock->rank >= RANK_COUNT)
        panic("the lock at %p has rank %u, which none has: spinlock_init was forgotten", (const void *)lock,
              lock->rank);
    for (u32 i = 0; i < here->count; i++)
        if (here->locks[i]->rank >= lock->rank)
            panic("a lock of rank %u (%s) is taken by who holds one of rank %u (%s)", lock->rank,
                  guards_of(lock), here->locks[i]->rank, guards_of(here->locks[i]));
    if (here->count == HELD_MAX)
        panic("a CPU holds more than %u locks", HELD_MAX);
    here->locks[here->count++] = lock;
}

bool lock_check_holds(const struct spinlock *lock)
{
    const struct held *here = held_here();

    for (u32 i = 0; i < here->count; i++)
        if (here->locks[i] == lock)
            return true;
    return READ_ONCE(ended);
}

bool lock_check_holds_none(void)
{
    return held_here()->count == 0 || READ_ONCE(ended);
}

void lock_check_release(const struct spinlock *lock)
{
    struct held *here = held_here();
    u32 at = 0;

    if (READ_ONCE(ended))
        return;
    while (at < here->count && here->locks[at] != lock)
        at++;
    if (at == here->count)
        panic("a lock of rank %u (%s) is released by a CPU that does not hold it; %s", lock->rank,
              guards_of(lock), spinlock_is_taken(lock) ? "another one does" : "nobody does");
    for (here->count--; at < here->count; at++)
        here->locks[at] = here->locks[at + 1];
}
