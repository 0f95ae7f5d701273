/* SPDX-License-Identifier: MIT */
/*
 * The error numbers of lintel are Linux's; the C library's one name that Linux's own header lacks is added.
 */
#ifndef HV_LIB_ERRNO_H
#define HV_LIB_ERRNO_H

#include <asm-generic/errno.h>

#ifndef ENOTSUP
#define ENOTSUP EOPNOTSUPP
#endif

#endif
