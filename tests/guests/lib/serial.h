/* SPDX-License-Identifier: MIT */
/* COM1, polled. */
#ifndef GUESTS_LIB_SERIAL_H
#define GUESTS_LIB_SERIAL_H

#include "hv/lib/types.h"

void serial_setup(void);
void serial_write(const char *text);
void serial_put(char c);
/* Has something been typed? Then this is the next of it. */
bool serial_has_key(void);
char serial_key(void);

#endif
