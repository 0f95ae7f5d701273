/* SPDX-License-Identifier: MIT */
/*
 * CPUID for guests: builds a VM's answers out of cpuid_table.c, the number of vCPUs and the personality,
 * and gives them at exits. A leaf whose answer is fixed costs one look into an array; only those that
 * follow a vCPU's state or have subleaves take longer. Building: boot CPU. Exits: the vCPU's own CPU, no
 * lock (the policy is not written any more). AMD APM 3, appendix E; Intel SDM 2A, CPUID; for 0x40000000:
 * guest-facts of KVM's interface (Linux: asm/kvm_para.h).
 */
#include "guest/policy/cpuid.h"
#include "arch/x86/machine/tsc.h"

#include "arch/x86/machine/fpu.h"
#include "guest/devices/lapic.h"
#include "guest/machine.h"
#include "guest/policy/cpuid_table.h"
#include "guest/policy/kvmclock.h"
#include "guest/policy/stealtime.h"
#include "hv/lib/string.h"
#include "hv/run/exit.h"

_Static_assert(CPUID_BASIC_LAST < CPUID_LEAVES, "basic leaves fit");
_Static_assert(CPUID_EXTENDED_LAST - CPUID_EXTENDED < CPUID_LEAVES, "extended leaves fit");
_Static_assert(CPUID_LEAVES <= 64, "one bit per leaf in plain");

#define LEAF_CACHES       4 /* Intel's; AMD's have the same layout */
#define LEAF_FEATURES_7   7
#define LEAF_TOPOLOGY     0xb
#define LEAF_XSAVE        0xd
#define LEAF_CACHES_AMD   0x8000001du
#define LEAF_TOPOLOGY_AMD 0x8000001eu
#define CACHES_MAX        6

/* Leaves whose answer depends on the vCPU or on ECX. */
static const u32 special_leaves[] = {
    1,          LEAF_CACHES, LEAF_FEATURES_7, LEAF_TOPOLOGY,
    LEAF_XSAVE, 0x80000001u, LEAF_CACHES_AMD, LEAF_TOPOLOGY_AMD,
};

#define XSAVE_LEGACY 576 /* FXSAVE's area and the header */

static inline struct cpuid_group *leaf_group(struct cpuid_policy *policy, u32 leaf)
{
    return &policy->groups[leaf >> 30];
}

static inline u32 leaf_index(u32 leaf)
{
    return leaf & 0x3fffffff;
}

/* ------------------------------------------------------------------ building */

static struct cpuid *leaf_at(struct cpuid_policy *policy, u32 leaf)
{
    return &leaf_group(policy, leaf)->leaves[leaf_index(leaf)];
}

static void subleaf_add(struct cpuid_policy *policy, u32 leaf, u32 subleaf, struct cpuid out)
{
    if (policy->subleaf_count < CPUID_SUBLEAVES)
        policy->subleaves[policy->subleaf_count++] = (struct cpuid_subleaf){leaf, subleaf, out};
}

static const struct cpuid_subleaf *subleaf_find(const struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
    for (u32 i = 0; i < policy->subleaf_count; i++)
        if (policy->subleaves[i].leaf == leaf && policy->subleaves[i].subleaf == subleaf)
            return &policy->subleaves[i];
    return NULL;
}

static bool leaf_shown(struct cpuid_policy *policy, u32 leaf)
{
    return leaf_index(leaf) < leaf_group(policy, leaf)->count;
}

/*
 * How far each group reaches: as on the host, within what the table knows and what lintel models on every
 * host.
 */
static void build_limits(struct cpuid_policy *policy, u32 basic, u32 extended)
{
    basic = MAX(MIN(basic, (u32)CPUID_BASIC_LAST), (u32)CPUID_BASIC_LEAST);
    extended = MAX(MIN(extended, CPUID_EXTENDED_LAST), CPUID_EXTENDED_LEAST);
    leaf_group(policy, 0)->count = basic + 1;
    leaf_group(policy, CPUID_EXTENDED)->count = leaf_index(extended) + 1;
    leaf_at(policy, 0)->eax = basic;
    leaf_at(policy, CPUID_EXTENDED)->eax = extended;
}

static struct cpuid apply_row(const struct cpuid_row *row, struct cpuid host, bool exists)
{
    if (!exists)
        host = (struct cpuid){0};
    return (struct cpuid){
        .eax = (host.eax & row->allow.eax) | row->force.eax,
        .ebx = (host.ebx & row->allow.ebx) | row->force.ebx,
        .ecx = (host.ecx & row->allow.ecx) | row->force.ecx,
        .edx = (host.edx & row->allow.edx) | row->force.edx,
    };
}

static void build_rows(struct cpuid_policy *policy, struct cpuid (*host)(u32 leaf, u32 subleaf))
{
    u32 basic = host(0, 0).eax, extended = host(CPUID_EXTENDED, 0).eax;

    build_limits(policy, basic, extended >= CPUID_EXTENDED ? extended : CPUID_EXTENDED);
    for (unsigned i = 0; i < cpuid_row_count; i++) {
        const struct cpuid_row *row = &cpuid_rows[i];
        bool exists = row->leaf <= (row->leaf >= CPUID_EXTENDED ? extended : basic);
        struct cpuid out;

        if (!leaf_shown(policy, row->leaf))
            continue;
        out = apply_row(row, host(row->leaf, row->subleaf), exists);
        if (row->subleaf) {
            subleaf_add(policy, row->leaf, row->subleaf, out);
            continue;
        }
        out.eax |= leaf_at(policy, row->leaf)->eax; /* the limits */
        *leaf_at(policy, row->leaf) = out;
    }
}

/* The least power of two that is not below count, as a shift. */
static u32 shift_of(u32 count)
{
    return count < 2 ? 0 : 32 - (u32)__builtin_clz(count - 1);
}

/* Every vCPU is a core of one package; the caches of level 3 belong to all of them, the others to one. */
static void build_caches(struct cpuid_policy *policy, u32 leaf, u32 vcpus, struct cpuid (*host)(u32, u32))
{
    u32 all = (1u << shift_of(vcpus)) - 1;

    for (u32 i = 0; i < CACHES_MAX; i++) {
        struct cpuid cache = host(leaf, i);

        if (!(cache.eax & 0x1f))
            break;
        cache.eax &= 0x00003fff;
        cache.eax |= ((cache.eax >> 5 & 7) >= 3 ? all : 0) << 14;
        cache.eax |= (leaf == LEAF_CACHES ? all : 0) << 26;
        if (i)
            subleaf_add(policy, leaf, i, cache);
        else
            *leaf_at(policy, leaf) = cache;
    }
}

static void build_topology(struct cpuid_policy *policy, u32 vcpus, struct cpuid (*host)(u32, u32))
{
    struct cpuid *first = leaf_at(policy, 1), *extended = leaf_at(policy, 0x80000001u);

    if (vcpus > 1) {
        first->ebx |= vcpus << 16;
        first->edx |= CPUID_1_EDX_HTT;
        extended->ecx |= CPUID_80000001_ECX_CMP_LEGACY;
    }
    *leaf_at(policy, LEAF_TOPOLOGY) = (struct cpuid){.eax = 0, .ebx = 1, .ecx = 1 << 8};
    subleaf_add(policy, LEAF_TOPOLOGY, 1,
                (struct cpuid){.eax = shift_of(vcpus), .ebx = vcpus, .ecx = 2 << 8});
    leaf_at(policy, 0x80000008u)->ecx = shift_of(vcpus) << 12 | (vcpus - 1);
    if (host(0, 0).eax >= LEAF_CACHES)
        build_caches(policy, LEAF_CACHES, vcpus, host);
    if ((extended->ecx & CPUID_80000001_ECX_TOPOEXT) && leaf_shown(policy, LEAF_TOPOLOGY_AMD))
        build_caches(policy, LEAF_CACHES_AMD, vcpus, host);
    else
        extended->ecx &= ~(u32)CPUID_80000001_ECX_TOPOEXT;
}

/* Guests see what the XSAVE area of their vCPU holds; ECX of subleaf 0 is its size for all of that. */
static void build_xsave(struct cpuid_policy *policy)
{
    struct cpuid *xsave = leaf_at(policy, LEAF_XSAVE);

    if (!leaf_shown(policy, LEAF_XSAVE))
        leaf_at(policy, 1)->ecx &= ~(u32)CPUID_1_ECX_XSAVE;
    if (!(leaf_at(policy, 1)->ecx & CPUID_1_ECX_XSAVE)) {
        *xsave = (struct cpuid){0};
        for (u32 i = 0; i < policy->subleaf_count; i++)
            if (policy->subleaves[i].leaf == LEAF_XSAVE)
                policy->subleaves[i].out = (struct cpuid){0};
        return;
    }
    xsave->ecx = XSAVE_LEGACY;
    for (u32 i = 2; i < 32; i++) {
        const struct cpuid_subleaf *component = subleaf_find(policy, LEAF_XSAVE, i);

        if (component && (xsave->eax & BIT(i)))
            xsave->ecx = MAX(xsave->ecx, component->out.ebx + component->out.eax);
    }
}

static void build_addresses(struct cpuid_policy *policy)
{
    struct cpuid *addresses = leaf_at(policy, 0x80000008u);
    u32 physical = addresses->eax & 0xff;

    if (!physical)
        physical = 36;                              /* what a CPU without the leaf has */
    addresses->eax = MIN(physical, 48u) | 48u << 8; /* four levels of tables, inside and outside */
}

/*
 * lintel's own leaves, beside those of the personality: who we are, and what a guest may do without.
 * docs/abi.md.
 */
static void build_lintel(struct cpuid_policy *policy)
{
    struct cpuid *signature = leaf_at(policy, CPUID_LINTEL);
    struct cpuid *timing = leaf_at(policy, CPUID_TIMING);

    memcpy(&signature->ebx, "Linu", 4);
    memcpy(&signature->ecx, "xPVL", 4);
    memcpy(&signature->edx, "inux", 4);
    leaf_at(policy, CPUID_LINTEL + 1)->eax = CPUID_LINTEL_NOP_IO_DELAY;
    timing->eax = (u32)tsc_khz;
    timing->ebx = (u32)(LAPIC_TIMER_HZ / 1000);
}

/* A hypervisor is there, and this is the signature that kernels know. */
static void build_hypervisor(struct cpuid_policy *policy, const char name[12])
{
    struct cpuid *signature = leaf_at(policy, CPUID_HYPERVISOR);

    leaf_group(policy, CPUID_HYPERVISOR)->count = leaf_index(CPUID_TIMING) + 1;
    signature->eax = CPUID_TIMING;
    memcpy(&signature->ebx, name, 4);
    memcpy(&signature->ecx, name + 4, 4);
    memcpy(&signature->edx, name + 8, 4);
    leaf_at(policy, 1)->ecx |= CPUID_1_ECX_HYPERVISOR;
    build_lintel(policy);
}

/* KVM, and those of its features that are backed. */
static void build_kvm(struct cpuid_policy *policy)
{
    build_hypervisor(policy, "KVMKVMKVM\0\0");
    leaf_at(policy, CPUID_HYPERVISOR + 1)->eax = KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY |
                                                 KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_STEAL_TIME |
                                                 KVM_FEATURE_CLOCKSOURCE_STABLE;
}

void cpuid_policy_build(struct cpuid_policy *policy, const struct vm_config *config,
                        struct cpuid (*host)(u32 leaf, u32 subleaf))
{
    memset(policy, 0, sizeof(*policy));
    build_rows(policy, host);
    build_topology(policy, config->vcpus, host);
    build_xsave(policy);
    build_addresses(policy);
    if (config->personality == PERSONALITY_KVM)
        build_kvm(policy);
    else if (config->personality == PERSONALITY_VMWARE)
        build_hypervisor(policy, "VMwareVMware"); /* asked for the rest by a port: vmware.c */
    for (unsigned i = 0; i < CPUID_GROUPS; i++)
        policy->groups[i].plain = policy->groups[i].count ? BITS(policy->groups[i].count - 1, 0) : 0;
    for (unsigned i = 0; i < ARRAY_SIZE(special_leaves); i++)
        leaf_group(policy, special_leaves[i])->plain &= ~BIT(leaf_index(special_leaves[i]));
}

struct cpuid cpuid_policy_get(const struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
    const struct cpuid_group *group = &policy->groups[leaf >> 30];
    const struct cpuid_subleaf *found;
    struct cpuid none = {0};

    if (leaf_index(leaf) >= group->count)
        return none;
    if (!subleaf)
        return group->leaves[leaf_index(leaf)];
    found = subleaf_find(policy, leaf, subleaf);
    return found ? found->out : none;
}

/* ------------------------------------------------------------------ exits */

static inline const struct cpuid_policy *policy_of(const struct vcpu *vcpu)
{
    return &((const struct machine *)vcpu->vm->machine)->cpuid;
}

static bool has_subleaves(u32 leaf)
{
    return leaf != 1 && leaf != 0x80000001u && leaf != LEAF_TOPOLOGY_AMD;
}

/* The XSAVE area's size for what XCR0 now enables: each part at its place, or packed (XSAVEC). */
static u32 xsave_size(const struct cpuid_policy *policy, u64 xcr0, bool packed)
{
    u32 size = XSAVE_LEGACY;

    for (u32 i = 0; i < policy->subleaf_count; i++) {
        const struct cpuid_subleaf *part = &policy->subleaves[i];

        if (part->leaf != LEAF_XSAVE || part->subleaf < 2 || !(xcr0 & BIT(part->subleaf)))
            continue;
        if (packed)
            size = (part->out.ecx & 2 ? ALIGN_UP(size, 64u) : size) + part->out.eax;
        else
            size = MAX(size, part->out.ebx + part->out.eax);
    }
    return size;
}

/* What follows the vCPU's state; it is loaded on this CPU. */
static struct cpuid answer_special(struct vcpu *vcpu, const struct cpuid_policy *policy, u32 leaf,
                                   u32 subleaf)
{
    struct cpuid out = cpuid_policy_get(policy, leaf, has_subleaves(leaf) ? subleaf : 0);

    switch (leaf) {
    case 1:
        out.ebx |= vcpu->index << 24;
        if ((out.ecx & CPUID_1_ECX_XSAVE) && (engine->register_get(vcpu, REGISTER_CR4) & CR4_OSXSAVE))
            out.ecx |= CPUID_1_ECX_OSXSAVE;
        /* fall through */
    case 0x80000001u:
        if (!lapic_is_enabled(vcpu))
            out.edx &= ~(u32)CPUID_1_EDX_APIC;
        break;
    case LEAF_TOPOLOGY:
        out.ecx |= subleaf & 0xff;
        out.edx = vcpu->index;
        break;
    case LEAF_XSAVE:
        if (subleaf < 2 && (policy->groups[0].leaves[1].ecx & CPUID_1_ECX_XSAVE))
            out.ebx = subleaf && !(out.eax & BIT(1)) ? 0 : xsave_size(policy, fpu_xcr0(), subleaf == 1);
        break;
    case LEAF_TOPOLOGY_AMD: out = (struct cpuid){.eax = vcpu->index, .ebx = vcpu->index}; break;
    default: break;
    }
    return out;
}

static inline void answer(struct vcpu *vcpu, const struct cpuid *out)
{
    vcpu->regs.gpr[RAX] = out->eax;
    vcpu->regs.gpr[RBX] = out->ebx;
    vcpu->regs.gpr[RCX] = out->ecx;
    vcpu->regs.gpr[RDX] = out->edx;
}

static void answer_rare(struct vcpu *vcpu)
{
    const struct cpuid_policy *policy = policy_of(vcpu);
    u32 leaf = (u32)vcpu->regs.gpr[RAX];
    struct cpuid out = {0};

    if (leaf_index(leaf) < policy->groups[leaf >> 30].count)
        out = answer_special(vcpu, policy, leaf, (u32)vcpu->regs.gpr[RCX]);
    answer(vcpu, &out);
}

static inline bool answer_plain(struct vcpu *vcpu)
{
    u32 leaf = (u32)vcpu->regs.gpr[RAX], index = leaf_index(leaf);
    const struct cpuid_group *group = &policy_of(vcpu)->groups[leaf >> 30];

    if (unlikely(index >= CPUID_LEAVES || !(group->plain >> index & 1)))
        return false;
    answer(vcpu, &group->leaves[index]);
    return true;
}

u32 policy_cpuid_light(struct vcpu *vcpu)
{
    return answer_plain(vcpu) ? exit_light_done(vcpu, EXIT_CPUID) : EXIT_NOT_LIGHT;
}

void policy_cpuid(struct vcpu *vcpu, struct vmexit *x)
{
    if (!answer_plain(vcpu))
        answer_rare(vcpu);
    vcpu_skip(vcpu, x);
}
