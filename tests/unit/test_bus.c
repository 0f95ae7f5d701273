/* SPDX-License-Identifier: MIT */
/* hv/run/bus.c: who answers, what nobody's bits are, and accesses that lie across the borders of ranges. */
// sources: hv/run/bus.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/run/bus.h"

static struct port_bus ports;
static struct spinlock lock = SPINLOCK_INIT(RANK_DEVICE);
static struct {
    unsigned calls, size;
    u64 where, value;
    bool locked;
} last;

static void note(u64 where, unsigned size, u64 value)
{
    last.calls++;
    last.where = where;
    last.size = size;
    last.value = value;
    last.locked = spinlock_held(&lock);
}

/* Upper bits are ignored, so the devices here leave rubbish in them. */
static u32 port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu, (void)device;
    note(port, size, 0);
    return 0xa5a50000u | (u32)(port << 8) | (port & 0xff);
}

static void port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu, (void)device;
    note(port, size, value);
}

static int add_ports(u16 first, u16 end, struct spinlock *guard)
{
    struct port_range range = {first, end, port_read, port_write, NULL, guard, "test", NULL};

    return port_bus_add(&ports, &range);
}

static int setup(void **state)
{
    (void)state;
    memset(&last, 0, sizeof(last));
    port_bus_init(&ports);
    return 0;
}

static void test_ports_find_their_device(void **state)
{
    (void)state;
    assert_int_equal(add_ports(0x60, 0x64, NULL), 0);
    assert_int_equal(add_ports(0xff, 0x100, &lock), 0);
    assert_int_equal(port_bus_read(&ports, NULL, 0x64, 1), 0x64);
    assert_false(last.locked);
    assert_int_equal(port_bus_read(&ports, NULL, 0xff, 2), 0xffff); /* across two pages of the map, masked */
    assert_true(last.locked);
    assert_int_equal(last.size, 2);
    assert_false(spinlock_held(&lock));
    port_bus_write(&ports, NULL, 0x60, 1, 0x12345678);
    assert_true(last.value == 0x78 && last.where == 0x60);
}

static void test_nobody_reads_all_ones(void **state)
{
    (void)state;
    assert_int_equal(port_bus_read(&ports, NULL, 0, 1), 0xff);
    assert_int_equal(port_bus_read(&ports, NULL, 0x1234, 2), 0xffff);
    assert_true(port_bus_read(&ports, NULL, 0xfffd, 4) == 0xffffffff); /* over the end of the ports */
    port_bus_write(&ports, NULL, 0xfffe, 4, 0);
    assert_int_equal(last.calls, 0);
}

static enum port_call port_call(struct vcpu *vcpu, void *device)
{
    note(vcpu->regs.gpr[RCX], 4, *(u32 *)device);
    return vcpu->regs.gpr[RAX] == 0x564d5868 ? PORT_CALL_DONE : PORT_CALL_NONE;
}

/* Read by nobody's handler: what the call does not want is an empty port. */
static void test_a_port_is_called(void **state)
{
    u32 device = 77;
    struct port_range range = {
        .first = 0x5658, .last = 0x5658, .device = &device, .lock = &lock, .name = "test", .call = port_call};
    struct vcpu vcpu = {.regs.gpr = {[RAX] = 0x564d5868, [RCX] = 45}};

    (void)state;
    assert_int_equal(port_bus_add(&ports, &range), 0);
    assert_int_equal(port_bus_call(&ports, &vcpu, 0x5658), PORT_CALL_DONE);
    assert_true(last.where == 45 && last.value == 77);
    assert_false(last.locked);
    vcpu.regs.gpr[RAX]++;
    assert_int_equal(port_bus_call(&ports, &vcpu, 0x5658), PORT_CALL_NONE);
    assert_int_equal(last.calls, 2);
    assert_int_equal(port_bus_call(&ports, &vcpu, 0x5659), PORT_CALL_NONE);
    assert_true(port_bus_read(&ports, &vcpu, 0x5658, 4) == 0xffffffff);
    assert_int_equal(port_bus_read(&ports, &vcpu, 0x5658, 1), 0xff);
    port_bus_write(&ports, &vcpu, 0x5658, 1, 0);
    assert_int_equal(last.calls, 2);
}

static void test_accesses_across_borders_go_by_bytes(void **state)
{
    (void)state;
    assert_int_equal(add_ports(0x42, 0x43, NULL), 0);
    assert_int_equal(add_ports(0x44, 0x44, &lock), 0);
    assert_int_equal(add_ports(0xfffe, 0xffff, NULL), 0);
    assert_true(port_bus_read(&ports, NULL, 0x43, 4) == 0xffff4443);
    assert_int_equal(last.calls, 2);
    assert_true(port_bus_read(&ports, NULL, 0x41, 4) == 0x444342ff); /* nobody's port first */
    assert_true(port_bus_read(&ports, NULL, 0xffff, 4) == 0xffffffff);
    assert_int_equal(port_bus_read(&ports, NULL, 0xfffe, 2), 0xfefe); /* whole inside: one access */
    last.calls = 0;
    port_bus_write(&ports, NULL, 0x41, 4, 0x44332211);
    assert_int_equal(last.calls, 3);
    assert_true(last.where == 0x44 && last.value == 0x44 && last.size == 1);
}

static void test_port_ranges_that_do_not_fit(void **state)
{
    (void)state;
    assert_int_equal(add_ports(0x70, 0x71, NULL), 0);
    assert_int_equal(add_ports(0x71, 0x72, NULL), -EEXIST);
    assert_int_equal(port_bus_read(&ports, NULL, 0x72, 1), 0xff); /* nothing was taken */
    assert_int_equal(add_ports(0x80, 0x7f, NULL), -EINVAL);
    for (u32 i = 2; i < PORT_RANGES; i++)
        assert_int_equal(add_ports((u16)(0x200 + i), (u16)(0x200 + i), NULL), 0);
    assert_int_equal(add_ports(0x400, 0x400, NULL), -ENOSPC);
}

static void test_port_map_pages_that_do_not_suffice(void **state)
{
    (void)state;
    assert_int_equal(add_ports(0x1000, 0x26ff, NULL), 0); /* 23 pages and the empty one are all there are */
    assert_int_equal(add_ports(0x2700, 0x2700, NULL), -ENOSPC);
    assert_int_equal(add_ports(0xffff, 0xffff, NULL), -ENOSPC);
    assert_int_equal(port_bus_read(&ports, NULL, 0x26ff, 1), 0xff);
    assert_int_equal(last.calls, 1);
}

static u64 mmio_read(struct vcpu *vcpu, void *device, u64 offset, unsigned size)
{
    (void)vcpu, (void)device;
    note(offset, size, 0);
    return 0x1122334455667788;
}

static void mmio_write(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value)
{
    (void)vcpu, (void)device;
    note(offset, size, value);
}

static void test_device_memory(void **state)
{
    static struct mmio_bus bus;
    struct mmio_range range = {0xfee00000, 0x1000, mmio_read, mmio_write, NULL, &lock, "test"};

    (void)state;
    memset(&bus, 0, sizeof(bus));
    assert_int_equal(mmio_bus_add(&bus, &range), 0);
    assert_int_equal(mmio_bus_add(&bus, &range), -EEXIST);
    assert_true(mmio_bus_read(&bus, NULL, 0xfee00020, 4) == 0x55667788);
    assert_true(last.where == 0x20 && last.locked && !spinlock_held(&lock));
    assert_true(mmio_bus_read(&bus, NULL, 0xfee00ff8, 8) == 0x1122334455667788);
    assert_null(mmio_bus_find(&bus, 0xfee00ffc, 8));
    assert_null(mmio_bus_find(&bus, 0xfedfffff, 1));
    assert_true(mmio_bus_read(&bus, NULL, 0xfee01000, 8) == ~0ull);
    assert_true(mmio_bus_read(&bus, NULL, ~0ull, 1) == 0xff);
    mmio_bus_write(&bus, NULL, 0xfee000b0, 2, 0x12345678);
    assert_true(last.value == 0x5678 && last.where == 0xb0);
    assert_true(mmio_bus_is_free(&bus, 0, 0xfee00000) && mmio_bus_is_free(&bus, 0xfee01000, 0x1000));
    assert_false(mmio_bus_is_free(&bus, 0, 0xfee00001));
    assert_false(mmio_bus_is_free(&bus, 0xfee00fff, 1));
    assert_false(mmio_bus_is_free(&bus, 0, 1ull << 40));
    last.calls = 0;
    mmio_bus_write(&bus, NULL, 0xfee00fff, 2, 0);
    assert_int_equal(last.calls, 0);
    range.start = ~0ull, range.size = 2;
    assert_int_equal(mmio_bus_add(&bus, &range), -EINVAL);
    for (range.start = 0, range.size = 1; bus.count < MMIO_RANGES; range.start++)
        assert_int_equal(mmio_bus_add(&bus, &range), 0);
    assert_int_equal(mmio_bus_add(&bus, &range), -ENOSPC);
}

static void test_msr_rows_are_found(void **state)
{
    static const struct msr_range rows[] = {{.first = 0x10, .last = 0x10},
                                            {.first = 0x200, .last = 0x20f},
                                            {.first = 0xc0000080, .last = 0xc0000084}};
    static const struct msr_bus bus = {rows, ARRAY_SIZE(rows)}, empty = {NULL, 0};

    (void)state;
    assert_ptr_equal(msr_bus_find(&bus, 0x10), &rows[0]);
    assert_ptr_equal(msr_bus_find(&bus, 0x200), &rows[1]);
    assert_ptr_equal(msr_bus_find(&bus, 0x20f), &rows[1]);
    assert_ptr_equal(msr_bus_find(&bus, 0xc0000084), &rows[2]);
    assert_null(msr_bus_find(&bus, 0));
    assert_null(msr_bus_find(&bus, 0x210));
    assert_null(msr_bus_find(&bus, 0xffffffff));
    assert_null(msr_bus_find(&empty, 0x10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ports_find_their_device, setup),
        cmocka_unit_test_setup(test_nobody_reads_all_ones, setup),
        cmocka_unit_test_setup(test_a_port_is_called, setup),
        cmocka_unit_test_setup(test_accesses_across_borders_go_by_bytes, setup),
        cmocka_unit_test_setup(test_port_ranges_that_do_not_fit, setup),
        cmocka_unit_test_setup(test_port_map_pages_that_do_not_suffice, setup),
        cmocka_unit_test_setup(test_device_memory, setup),
        cmocka_unit_test_setup(test_msr_rows_are_found, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
