/* SPDX-License-Identifier: MIT */
/*
 * Formatting without allocation. Understood: %d %i %u %x %X %o %c %s %p %% with flags '-', '0', '+', '#',
 * ' ', width, precision (also *), and the lengths hh h l ll z t. Any CPU, no lock.
 */
#ifndef HV_LIB_PRINTF_H
#define HV_LIB_PRINTF_H

#include <stdarg.h>

#include "hv/lib/types.h"

/* Returns the length the whole text would have; writes at most size bytes with the NUL. size may be 0. */
int vsnprintf(char *to, size_t size, const char *format, va_list args);
int snprintf(char *to, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
