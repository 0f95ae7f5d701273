/* SPDX-License-Identifier: MIT */
/*
 * The ports that reset a PC: 0xcf9, the keyboard controller's 0x60 and 0x64 (with neither keyboard nor
 * mouse), 0x92. They take the device lock themselves, so that no lock is held when the VM is asked to reset.
 */
#ifndef GUEST_DEVICES_RESET_H
#define GUEST_DEVICES_RESET_H

#include "hv/lib/types.h"

struct machine;

struct reset_ports {
    struct machine *machine;
    u8 control; /* 0xcf9 */
    u8 command; /* of the keyboard controller, that waits for its data byte; 0: none */
    u8 mode;    /* the keyboard controller's command byte */
    u8 output;
    bool output_full;
    bool data_was_command; /* the last byte came by 0x64 */
};

int reset_ports_init(struct reset_ports *reset, struct machine *machine);
void reset_ports_reset(struct reset_ports *reset);

/* Port 0xcf9, which pci.c finds between its own ports. No lock held. */
u32 reset_control_read(struct reset_ports *reset);
void reset_control_write(struct reset_ports *reset, u8 value);

#endif
