/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259A interrupt controllers with edge/level registers (Intel 8259A data sheet; 0x4d0/0x4d1 as
 * in PIIX). All functions: device lock held.
 */
#ifndef GUEST_DEVICES_PIC_H
#define GUEST_DEVICES_PIC_H

#include "hv/lib/types.h"

struct machine;

struct pic_chip {
    u8 lines; /* inputs as they are now */
    u8 irr, isr, imr;
    u8 elcr;     /* 1: level triggered */
    u8 vector;   /* ICW2 */
    u8 lowest;   /* input of lowest priority */
    u8 icw_next; /* 0: ready; 2, 3, 4: this ICW comes next */
    bool icw4_wanted, auto_eoi, rotate_on_auto_eoi, special_mask, fully_nested, poll, read_isr;
    bool single;
};

struct pic {
    struct machine *machine;
    struct pic_chip chips[2]; /* master, slave */
    bool output;              /* the INT pin of the master */
};

/* Register the ports; 0 or what the bus says. */
int pic_init(struct pic *pic, struct machine *machine);
void pic_reset(struct pic *pic);

/* An ISA line (0 .. 15; 2 is the cascade and is ignored) changes. */
void pic_set_input(struct pic *pic, unsigned line, bool level);

/* The CPU acknowledges: the vector, a spurious one (input 7) when the request has gone. */
u8 pic_acknowledge(struct pic *pic);

/* The INT pin; may be looked at without the lock. */
static inline bool pic_output(const struct pic *pic)
{
    return READ_ONCE(pic->output);
}

#endif
