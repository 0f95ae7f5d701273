/* SPDX-License-Identifier: MIT */
/* See fake_machine.h. */
#include "tests/unit/fake_machine.h"

#include <stdio.h>
#include <string.h>

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/memory/guest_take.h"
#include "hv/run/memory_wait.h"

struct fake_machine fake;
u8 fake_ram[FAKE_RAM] ALIGNED(4096);
static u64 p2m_list[FAKE_PAGES];

/* ---- memory ---- */

void *phys_to_virt(hpa_t hpa)
{
    return (void *)hpa;
}

hpa_t virt_to_phys(const void *at)
{
    return (hpa_t)at;
}

int guest_memory_fault(struct guest_memory *memory, gpa_t gpa)
{
    return guest_memory_is_ram(memory, gpa) ? fake.memory_fault : -ENXIO;
}

int guest_memory_give(struct guest_memory *memory, gpa_t gpa, u64 most)
{
    (void)most;
    return guest_memory_fault(memory, gpa);
}

int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes)
{
    (void)memory;
    if (gpa > FAKE_RAM || bytes > FAKE_RAM - gpa)
        return -EFAULT;
    memcpy(to, fake_ram + gpa, bytes);
    return 0;
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    (void)memory;
    if (gpa > FAKE_RAM || bytes > FAKE_RAM - gpa)
        return -EFAULT;
    memcpy(fake_ram + gpa, from, bytes);
    return 0;
}

void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    (void)vcpu, (void)device;
    fake.waits_for = gpa;
}

void guest_memory_settle_now(struct guest_memory *memory)
{
    (void)memory;
}

int guest_memory_list_fault(struct guest_memory *memory, gpa_t gpa)
{
    (void)memory, (void)gpa;
    fake.list_faults++;
    return fake.memory_fault;
}

u64 guest_memory_list_read(struct guest_memory *memory, gpa_t gpa, unsigned bytes)
{
    u64 value = 0;

    memcpy(&value, (const u8 *)fake.list + (gpa - memory->list.start), bytes);
    return value;
}

int guest_walk(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, u64 access,
               gpa_t *gpa, u32 *error_code)
{
    u64 page = (gva >> PAGE_SHIFT) % FAKE_PAGES;

    (void)memory, (void)paging;
    *error_code = (u32)access | !fake.not_present[page];
    if (fake.not_present[page] || (fake.read_only[page] && (access & WALK_WRITE)))
        return -EFAULT;
    *gpa = page << PAGE_SHIFT | (gva & ~PAGE_MASK);
    return 0;
}

int guest_walk_fetched(const struct guest_memory *memory, const struct guest_paging *paging, gva_t gva,
                       gpa_t *gpa)
{
    u32 error_code;

    (void)memory;
    return guest_walk(NULL, paging, gva, 0, gpa, &error_code);
}

/* ---- the vCPU ---- */

u64 vcpu_gpr_get(struct vcpu *vcpu, unsigned gpr)
{
    return gpr == RSP ? fake_state.registers[REGISTER_RSP] : vcpu->regs.gpr[gpr];
}

void vcpu_gpr_set(struct vcpu *vcpu, unsigned gpr, u64 value)
{
    if (gpr == RSP)
        fake_state.registers[REGISTER_RSP] = value;
    else
        vcpu->regs.gpr[gpr] = value;
}

void vcpu_inject_exception(struct vcpu *vcpu, u8 vector)
{
    (void)vcpu;
    fake.vector = vector;
}

void vcpu_inject_fault(struct vcpu *vcpu, u8 vector, u32 error_code)
{
    vcpu_inject_exception(vcpu, vector);
    fake.error_code = error_code;
}

void vcpu_inject_page_fault(struct vcpu *vcpu, u64 address, u32 error_code)
{
    vcpu_inject_fault(vcpu, VECTOR_PF, error_code);
    fake.address = address;
}

void vcpu_dump(struct vcpu *vcpu)
{
    (void)vcpu;
    fake.dumps++;
}

void vm_stop(struct vm *vm, const char *format, ...)
{
    va_list args;

    (void)vm;
    va_start(args, format);
    vsnprintf(fake.stopped, sizeof(fake.stopped), format, args);
    va_end(args);
}

/* ---- the device ---- */

static u64 device_read(struct vcpu *vcpu, void *device, u64 offset, unsigned size)
{
    u64 value = 0;

    (void)vcpu, (void)device;
    fake.device_reads++;
    fake.device_size = size;
    memcpy(&value, (u8 *)fake.device + offset, size);
    return value;
}

static void device_write(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value)
{
    (void)vcpu, (void)device;
    fake.device_writes++;
    fake.device_size = size;
    memcpy((u8 *)fake.device + offset, &value, size);
}

/* Four levels that map the first 1 MiB to itself, in RAM's last four pages. */
static void build_page_tables(void)
{
    u64 *tables = (u64 *)(fake_ram + FAKE_TABLES);

    memset(tables, 0, FAKE_RAM - FAKE_TABLES);
    for (unsigned level = 0; level < 3; level++)
        tables[512 * level] = (FAKE_TABLES + PAGE_SIZE * (level + 1)) | PTE_PRESENT | PTE_WRITE | PTE_USER;
    for (u64 page = 0; page < FAKE_PAGES; page++)
        tables[512 * 3 + page] = page << PAGE_SHIFT | PTE_PRESENT | PTE_WRITE | PTE_USER;
    fake_state.registers[REGISTER_CR3] = FAKE_TABLES;
}

void fake_machine_reset(enum fake_mode mode)
{
    static const struct mmio_range range = {.start = FAKE_DEVICE,
                                            .size = sizeof(fake.device),
                                            .read = device_read,
                                            .write = device_write,
                                            .name = "fake"};
    u64 registers[512];

    memcpy(registers, fake.device, sizeof(registers));
    fake = (struct fake_machine){.vector = -1};
    memcpy(fake.device, registers, sizeof(registers));
    fake_engine_reset(mode);
    build_page_tables();
    fetch_cache_clear(&fake.vcpu.fetch_cache);
    for (u64 gfn = 0; gfn < FAKE_PAGES; gfn++)
        p2m_list[gfn] = gfn < FAKE_RAM >> PAGE_SHIFT ? ((u64)fake_ram >> PAGE_SHIFT) + gfn : P2M_INVALID;
    fake.vm.memory.p2m.list = p2m_list;
    fake.vm.memory.regions[0] = (struct guest_region){.end = FAKE_RAM, .type = REGION_RAM};
    fake.vm.memory.region_count = 1;
    port_bus_init(&fake.ports);
    fake.vm.ports = &fake.ports;
    mmio_bus_add(&fake.vm.mmio, &range);
    fake.vcpu.vm = &fake.vm;
}
