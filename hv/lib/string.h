/* SPDX-License-Identifier: MIT */
/* The few string functions lintel needs; semantics of ISO C where the name is ISO C's. Any CPU, no lock. */
#ifndef HV_LIB_STRING_H
#define HV_LIB_STRING_H

#include "hv/lib/types.h"

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *at, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *text);
size_t strnlen(const char *text, size_t most);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t most);
char *strchr(const char *text, int c);

/* Copy at most size - 1 characters and always end with NUL; returns strlen(from): >= size tells of a cut. */
size_t string_copy(char *to, const char *from, size_t size);

#endif
