/* SPDX-License-Identifier: MIT */
/* What the compiler may call by itself. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *at, int value, size_t bytes);

void *memcpy(void *to, const void *from, size_t bytes)
{
    void *result = to;

    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return result;
}

void *memset(void *at, int value, size_t bytes)
{
    void *result = at;

    asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
    return result;
}
