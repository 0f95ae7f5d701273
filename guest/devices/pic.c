/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259A. Its INT pin leads to LINT0 of vCPU 0 and to pin 0 of the IOAPIC, as in a PC; which of
 * them listens is the guest's choice. Ports 0x20, 0xa0 and 0x4d0 come from the bus, lines from
 * guest/machine.c, acknowledgement from lapic.c: device lock everywhere. Intel 8259A data sheet; ELCR:
 * 82371AB data sheet, 4.2.5.
 */
#include "guest/devices/pic.h"

#include "guest/devices/byte_port.h"
#include "guest/machine.h"

#define CASCADE     2
#define MASTER_PORT 0x20
#define SLAVE_PORT  0xa0
#define ELCR_PORT   0x4d0

#define ICW1          BIT(4)
#define ICW1_SINGLE   BIT(1)
#define ICW1_ICW4     BIT(0)
#define ICW4_NESTED   BIT(4)
#define ICW4_AUTO_EOI BIT(1)
#define OCW3          BIT(3)
#define OCW3_ESMM     BIT(6)
#define OCW3_SMM      BIT(5)
#define OCW3_POLL     BIT(2)
#define OCW3_RR       BIT(1)
#define OCW3_RIS      BIT(0)

/* The timer, keyboard, cascade, RTC and FPU lines are edge triggered for good. */
static const u8 elcr_writable[2] = {0xf8, 0xde};

static bool chip_is_master(const struct pic *pic, const struct pic_chip *chip)
{
    return chip == &pic->chips[0];
}

/* 0 is the highest priority. */
static unsigned chip_priority(const struct pic_chip *chip, unsigned input)
{
    return (input - chip->lowest - 1u) & 7;
}

/* The input of highest priority in mask, or -1. */
static int chip_highest(const struct pic_chip *chip, u8 mask)
{
    unsigned shift = (chip->lowest + 1u) & 7;
    unsigned rotated = (mask >> shift | mask << (8 - shift)) & 0xff;

    return rotated ? (int)(((unsigned)__builtin_ctz(rotated) + shift) & 7) : -1;
}

/* Inputs whose request follows the line. The slave holds its INT up as long as it wants something. */
static u8 chip_levels(const struct pic *pic, const struct pic_chip *chip)
{
    return chip_is_master(pic, chip) ? chip->elcr | (u8)BIT(CASCADE) : chip->elcr;
}

static u8 chip_requests(const struct pic *pic, const struct pic_chip *chip)
{
    u8 levels = chip_levels(pic, chip);

    return (u8)((chip->irr & ~levels) | (chip->lines & levels));
}

/* The request that INT is raised for, or -1. */
static int chip_pending(const struct pic *pic, const struct pic_chip *chip)
{
    int best = chip_highest(chip, chip_requests(pic, chip) & (u8)~chip->imr);
    u8 in_service = chip->isr;
    int served;

    if (best < 0)
        return -1;
    if (chip->special_mask)
        in_service &= (u8)~chip->imr;
    if (chip->fully_nested && chip_is_master(pic, chip))
        in_service &= (u8)~BIT(CASCADE);
    served = chip_highest(chip, in_service);
    if (served >= 0 && chip_priority(chip, (unsigned)served) <= chip_priority(chip, (unsigned)best))
        return -1;
    return best;
}

static void chip_acknowledge(struct pic_chip *chip, unsigned input)
{
    chip->irr &= (u8)~BIT(input);
    if (!chip->auto_eoi)
        chip->isr |= (u8)BIT(input);
    else if (chip->rotate_on_auto_eoi)
        chip->lowest = (u8)input;
}

static void pic_drive(struct pic *pic, bool level)
{
    struct vcpu *boot_vcpu = pic->machine->vm->boot_vcpu;

    if (pic->output == level)
        return;
    WRITE_ONCE(pic->output, level);
    ioapic_set_pin(&pic->machine->ioapic, 0, level);
    if (boot_vcpu != NULL && boot_vcpu->lapic != NULL)
        lapic_set_lint(boot_vcpu, 0, level);
}

/* After any change: the slave drives its input at the master, the master the CPU. */
static void pic_update(struct pic *pic)
{
    struct pic_chip *master = &pic->chips[0];

    master->lines &= (u8)~BIT(CASCADE);
    if (chip_pending(pic, &pic->chips[1]) >= 0)
        master->lines |= (u8)BIT(CASCADE);
    pic_drive(pic, chip_pending(pic, master) >= 0);
}

void pic_set_input(struct pic *pic, unsigned line, bool level)
{
    struct pic_chip *chip = &pic->chips[line >> 3 & 1];
    u8 bit = (u8)BIT(line & 7);

    if (line == CASCADE || line > 15 || ((chip->lines & bit) != 0) == level)
        return;
    if (level)
        chip->irr |= bit;
    chip->lines ^= bit;
    pic_update(pic);
}

u8 pic_acknowledge(struct pic *pic)
{
    struct pic_chip *chip = &pic->chips[0];
    int input = chip_pending(pic, chip);

    if (input >= 0)
        chip_acknowledge(chip, (unsigned)input);
    if (input == CASCADE) {
        chip = &pic->chips[1];
        input = chip_pending(pic, chip);
        if (input >= 0)
            chip_acknowledge(chip, (unsigned)input);
    }
    /*
     * INT falls at the acknowledgement, even if the next request is there: an edge for those who wait for
     * edges.
     */
    pic_drive(pic, false);
    pic_update(pic);
    return chip->vector | (u8)(input < 0 ? 7 : input);
}

static void chip_initialise(struct pic_chip *chip, u8 icw1)
{
    *chip = (struct pic_chip){
        .lines = chip->lines,
        .elcr = chip->elcr,
        .vector = chip->vector,
        .lowest = 7,
        .icw_next = 2,
        .icw4_wanted = (icw1 & ICW1_ICW4) != 0,
        .single = (icw1 & ICW1_SINGLE) != 0,
    };
}

static void chip_write_icw(struct pic_chip *chip, u8 value)
{
    u8 after_icw3 = chip->icw4_wanted ? 4 : 0;

    switch (chip->icw_next) {
    case 2:
        chip->vector = value & 0xf8;
        chip->icw_next = chip->single ? after_icw3 : 3;
        return;
    case 3: /* who is whose slave is wired, not programmed */ chip->icw_next = after_icw3; return;
    default:
        chip->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
        chip->fully_nested = (value & ICW4_NESTED) != 0;
        chip->icw_next = 0;
    }
}

/* Specific or not, with or without rotation: bits 7 (rotate), 6 (specific), 5 (EOI), input in 2:0. */
static void chip_write_ocw2(struct pic_chip *chip, u8 value)
{
    bool rotate = (value & BIT(7)) != 0, specific = (value & BIT(6)) != 0, eoi = (value & BIT(5)) != 0;
    int input = specific ? value & 7 : chip_highest(chip, chip->isr);

    if (!specific && !eoi) {
        chip->rotate_on_auto_eoi = rotate;
        return;
    }
    if (input < 0)
        return;
    if (eoi)
        chip->isr &= (u8)~BIT(input);
    if (rotate)
        chip->lowest = (u8)input;
}

static void chip_write_ocw3(struct pic_chip *chip, u8 value)
{
    if (value & OCW3_ESMM)
        chip->special_mask = (value & OCW3_SMM) != 0;
    if (value & OCW3_POLL)
        chip->poll = true;
    else if (value & OCW3_RR)
        chip->read_isr = (value & OCW3_RIS) != 0;
}

static struct pic_chip *pic_chip_at(struct pic *pic, u16 port)
{
    return &pic->chips[port >= SLAVE_PORT];
}

static void pic_write(void *device, u16 port, u8 value)
{
    struct pic *pic = device;
    struct pic_chip *chip = pic_chip_at(pic, port);

    if (port & 1) {
        if (chip->icw_next != 0)
            chip_write_icw(chip, value);
        else
            chip->imr = value;
    } else if (value & ICW1) {
        chip_initialise(chip, value);
    } else if (value & OCW3) {
        chip_write_ocw3(chip, value);
    } else {
        chip_write_ocw2(chip, value);
    }
    pic_update(pic);
}

/* A poll acknowledges like the CPU does, at one chip alone. */
static u8 chip_poll(struct pic *pic, struct pic_chip *chip)
{
    int input = chip_pending(pic, chip);

    chip->poll = false;
    if (input < 0)
        return 0;
    chip_acknowledge(chip, (unsigned)input);
    pic_update(pic);
    return (u8)(BIT(7) | (unsigned)input);
}

static u8 pic_read(void *device, u16 port)
{
    struct pic *pic = device;
    struct pic_chip *chip = pic_chip_at(pic, port);

    if (chip->poll)
        return chip_poll(pic, chip);
    if (port & 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip_requests(pic, chip);
}

static u8 elcr_read(void *device, u16 port)
{
    return ((struct pic *)device)->chips[port & 1].elcr;
}

static void elcr_write(void *device, u16 port, u8 value)
{
    struct pic *pic = device;

    pic->chips[port & 1].elcr = value & elcr_writable[port & 1];
    pic_update(pic);
}

static u32 pic_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    return byte_port_read(device, port, size, pic_read);
}

static void pic_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    byte_port_write(device, port, size, value, pic_write);
}

static u32 elcr_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    return byte_port_read(device, port, size, elcr_read);
}

static void elcr_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    byte_port_write(device, port, size, value, elcr_write);
}

void pic_reset(struct pic *pic)
{
    *pic = (struct pic){.machine = pic->machine};
    for (unsigned i = 0; i < ARRAY_SIZE(pic->chips); i++) {
        pic->chips[i].lowest = 7;
        pic->chips[i].imr = 0xff; /* quiet until somebody initialises it */
    }
}

int pic_init(struct pic *pic, struct machine *board)
{
    struct port_range range = {
        .first = MASTER_PORT,
        .last = MASTER_PORT + 1,
        .read = pic_port_read,
        .write = pic_port_write,
        .device = pic,
        .lock = &board->vm->device_lock,
        .name = "pic",
    };
    int error;

    pic->machine = board;
    pic_reset(pic);
    error = port_bus_add(board->vm->ports, &range);
    if (error != 0)
        return error;
    range.first = SLAVE_PORT;
    range.last = SLAVE_PORT + 1;
    error = port_bus_add(board->vm->ports, &range);
    if (error != 0)
        return error;
    range.first = ELCR_PORT;
    range.last = ELCR_PORT + 1;
    range.read = elcr_port_read;
    range.write = elcr_port_write;
    return port_bus_add(board->vm->ports, &range);
}
