/* SPDX-License-Identifier: MIT */
/*
 * Which function answers which exit: hv/run for what is the CPU's own, guest/policy for what is a decision.
 */
#include "guest/devices/lapic.h"
#include "guest/policy/cpuid.h"
#include "guest/policy/cr8.h"
#include "guest/policy/msr.h"
#include "hv/run/exit.h"
#include "hv/run/hypercall.h"

const exit_light_fn exit_light[EXIT_KIND_COUNT] = {
    [EXIT_CPUID] = policy_cpuid_light,
    [EXIT_HYPERCALL] = exit_hypercall_light,
    [EXIT_MSR_READ] = policy_msr_read_light,
    [EXIT_MSR_WRITE] = policy_msr_write_light,
};

const exit_handler_fn exit_handlers[EXIT_KIND_COUNT] = {
    [EXIT_UNKNOWN] = exit_stop,
    [EXIT_INTERRUPT] = exit_interrupt,
    [EXIT_CPUID] = policy_cpuid,
    [EXIT_HYPERCALL] = exit_hypercall,
    [EXIT_PORT] = exit_port,
    [EXIT_MSR_READ] = policy_msr_read,
    [EXIT_MSR_WRITE] = policy_msr_write,
    [EXIT_NESTED_FAULT] = exit_nested_fault,
    [EXIT_HLT] = exit_hlt,
    [EXIT_PAUSE] = exit_pause,
    [EXIT_INTERRUPT_WINDOW] = exit_interrupt_window,
    [EXIT_NMI_WINDOW] = exit_nmi_window,
    [EXIT_NMI] = exit_interrupt,
    [EXIT_APIC_WRITE] = lapic_page_written,
    [EXIT_CR] = policy_cr8,
    [EXIT_XSETBV] = exit_xsetbv,
    [EXIT_WBINVD] = exit_skip, /* no device of a guest looks past the caches */
    [EXIT_EXCEPTION] = exit_exception,
    [EXIT_FORBIDDEN] = exit_forbidden,
    [EXIT_TASK_SWITCH] = exit_stop,
    [EXIT_TRIPLE_FAULT] = exit_triple_fault,
    [EXIT_INVALID_STATE] = exit_stop,
};
