/* SPDX-License-Identifier: MIT */
/*
 * What of the host's CPUID a guest gets to see: one row per leaf, an allow-mask per word. A feature is
 * passed on when it works in a guest without lintel's help, or lintel gives that help; what is not named is
 * hidden, so that a future CPU's bits stay out until somebody has thought about them. Constant data. AMD
 * APM 3, appendix E; Intel SDM 2A, CPUID.
 */
#include "guest/policy/cpuid_table.h"

#define ALL  0xffffffffu
#define B(n) (1u << (n))

/* clang-format off */
/*
 * Hidden: MONITOR 3, VMX 5, SMX 6, EIST 7, TM2 8, PDCM 15, DCA 18. OSXSAVE 27 follows CR4, 31 the
 * personality.
 */
#define ALLOW_1_ECX \
    (B(0) /* SSE3 */ | B(1) /* PCLMULQDQ */ | B(9) /* SSSE3 */ | B(12) /* FMA */ | B(13) /* CX16 */ | \
     B(17) /* PCID */ | B(19) /* SSE4.1 */ | B(20) /* SSE4.2 */ | B(22) /* MOVBE */ | B(23) /* POPCNT */ | \
     B(25) /* AES */ | B(26) /* XSAVE */ | B(28) /* AVX */ | B(29) /* F16C */ | B(30) /* RDRAND */)
/* Modelled by guest/devices/lapic.c whatever the host has. */
#define FORCE_1_ECX \
    (B(21) /* x2APIC */ | B(24) /* TSC-deadline */)
/* Hidden: PSN 18, DS 21, ACPI 22, SS 27, TM 29, PBE 31. */
#define ALLOW_1_EDX \
    (B(0) /* FPU */ | B(1) /* VME */ | B(2) /* DE */ | B(3) /* PSE */ | B(4) /* TSC */ | B(5) /* MSR */ | \
     B(6) /* PAE */ | B(8) /* CX8 */ | B(11) /* SEP */ | B(13) /* PGE */ | B(15) /* CMOV */ | \
     B(16) /* PAT */ | B(17) /* PSE36 */ | B(19) /* CLFSH */ | B(23) /* MMX */ | B(24) /* FXSR */ | \
     B(25) /* SSE */ | B(26) /* SSE2 */)
/* Machine checks without a bank, MTRRs without a range (guest/policy/msr.c); the same in 80000001. */
#define FORCE_1_EDX \
    (B(7) /* MCE */ | B(9) /* APIC */ | B(12) /* MTRR */ | B(14) /* MCA */)
/* Hidden: SGX 2, HLE 4, RTM 11, PQM 12, MPX 14, PQE 15, PT 25. */
#define ALLOW_7_EBX \
    (B(0) /* FSGSBASE */ | B(3) /* BMI1 */ | B(5) /* AVX2 */ | B(6) /* FDP */ | B(7) /* SMEP */ | \
     B(8) /* BMI2 */ | B(9) /* ERMS */ | B(10) /* INVPCID */ | B(13) /* FCS */ | B(16) /* AVX512F */ | \
     B(17) /* AVX512DQ */ | B(18) /* RDSEED */ | B(19) /* ADX */ | B(20) /* SMAP */ | \
     B(21) /* AVX512_IFMA */ | B(23) /* CLFLUSHOPT */ | B(24) /* CLWB */ | B(28) /* AVX512CD */ | \
     B(29) /* SHA */ | B(30) /* AVX512BW */ | B(31) /* AVX512VL */)
/* guest/policy/msr.c keeps it. */
#define FORCE_7_EBX \
    (B(1) /* TSC_ADJUST */)
/* Hidden: PKU 3, WAITPKG 5, CET 7, LA57 16, and all later ones. */
#define ALLOW_7_ECX \
    (B(1) /* VBMI */ | B(2) /* UMIP */ | B(6) /* VBMI2 */ | B(8) /* GFNI */ | B(9) /* VAES */ | \
     B(10) /* VPCLMULQDQ */ | B(11) /* VNNI */ | B(12) /* BITALG */ | B(14) /* VPOPCNTDQ */ | \
     B(22) /* RDPID */)
/*
 * Hidden: RTM 11 and 13, TSXLDTRK 16, PCONFIG 18, CET 20, AMX 22 to 25; from 26: speculation MSRs, which
 * stay the host's.
 */
#define ALLOW_7_EDX \
    (B(2) /* 4VNNIW */ | B(3) /* 4FMAPS */ | B(4) /* FSRM */ | B(8) /* VP2INTERSECT */ | \
     B(10) /* MD_CLEAR */ | B(14) /* SERIALIZE */)
/* Instructions without state of their own. */
#define ALLOW_7_1_EAX \
    (B(4) /* AVX_VNNI */ | B(5) /* AVX512_BF16 */ | B(10) /* FZRM */ | B(11) /* FSRS */ | \
     B(12) /* FSRC */)
/*
 * Hidden: SVM 2, EXTAPIC 3, OSVW 9, IBS 10, SKINIT 12, WDT 13, LWP 15, NODEID 19, counters 23 to 28,
 * MONITORX 29.
 */
#define ALLOW_80000001_ECX \
    (B(0) /* LAHF */ | B(4) /* CR8_LEGACY */ | B(5) /* ABM */ | B(6) /* SSE4A */ | \
     B(7) /* MISALIGNSSE */ | B(8) /* PREFETCHW */ | B(11) /* XOP */ | B(16) /* FMA4 */ | \
     B(21) /* TBM */ | B(22) /* TOPOEXT */)
/* As in leaf 1 up to 24, without SEP; and what AMD added. */
#define ALLOW_80000001_EDX \
    (B(0) /* FPU */ | B(1) /* VME */ | B(2) /* DE */ | B(3) /* PSE */ | B(4) /* TSC */ | B(5) /* MSR */ | \
     B(6) /* PAE */ | B(8) /* CX8 */ | B(11) /* SYSCALL */ | B(13) /* PGE */ | B(15) /* CMOV */ | \
     B(16) /* PAT */ | B(17) /* PSE36 */ | B(20) /* NX */ | B(22) /* MMXEXT */ | B(23) /* MMX */ | \
     B(24) /* FXSR */ | B(25) /* FFXSR */ | B(26) /* 1G_PAGES */ | B(27) /* RDTSCP */ | B(29) /* LM */ | \
     B(30) /* 3DNOWEXT */ | B(31) /* 3DNOW */)
/* Hidden: IRPERF 1, RDPRU 4, WBNOINVD 9, and from 12: speculation MSRs, which stay the host's. */
#define ALLOW_80000008_EBX \
    (B(0) /* CLZERO */ | B(2) /* XSAVEERPTR */)
/* Facts that save a kernel from writing MSRs. */
#define ALLOW_80000021_EAX \
    (B(2) /* LFENCE_SERIALISES */ | B(6) /* NULL_SELECTOR_CLEARS_BASE */)
/* clang-format on */

#define ROW(leaf, subleaf, a, b, c, d, why)            \
    {                                                  \
        leaf, subleaf, {a, b, c, d}, {0, 0, 0, 0}, why \
    }
#define ROW_FORCED(leaf, subleaf, a, b, c, d, fa, fb, fc, fd, why) \
    {                                                              \
        leaf, subleaf, {a, b, c, d}, {fa, fb, fc, fd}, why         \
    }

/* clang-format off */
const struct cpuid_row cpuid_rows[] = {
    ROW(0x0, 0, 0, ALL, ALL, ALL,
        "the vendor decides which errata and MSRs a kernel looks for; EAX is the highest leaf shown"),
    ROW_FORCED(0x1, 0, ALL, 0x0000ff00, ALLOW_1_ECX, ALLOW_1_EDX, 0, 0, FORCE_1_ECX, FORCE_1_EDX,
        "features that need no help; local APIC, x2APIC, deadline timer, MTRRs, machine checks as modelled"),
    ROW(0x2, 0, ALL, ALL, ALL, ALL, "Intel's cache and TLB descriptors describe the real CPU"),
    ROW_FORCED(0x6, 0, 0, 0, 0, 0, B(2), 0, 0, 0,
        "ARAT: the modelled APIC timer never stops; no frequency or power MSRs"),
    ROW_FORCED(0x7, 0, 0, ALLOW_7_EBX, ALLOW_7_ECX, ALLOW_7_EDX, 1, FORCE_7_EBX, 0, 0,
        "instructions yes; what has MSRs that are not switched with the vCPU no; EAX: one more subleaf"),
    ROW(0x7, 1, ALLOW_7_1_EAX, 0, 0, 0, "instructions without state of their own"),
    ROW(0xd, 0, CPUID_XCR0, ALL, ALL, 0, "x87, SSE, AVX, AVX-512: what the vCPU's XSAVE area holds"),
    ROW(0xd, 1, 0x7, ALL, 0, 0, "XSAVEOPT, XSAVEC, XGETBV(1); not XSAVES: IA32_XSS is not modelled"),
    ROW(0xd, 2, ALL, ALL, ALL, ALL, "AVX: place and size"),
    ROW(0xd, 5, ALL, ALL, ALL, ALL, "AVX-512 opmask: place and size"),
    ROW(0xd, 6, ALL, ALL, ALL, ALL, "AVX-512 ZMM_Hi256: place and size"),
    ROW(0xd, 7, ALL, ALL, ALL, ALL, "AVX-512 Hi16_ZMM: place and size"),
    ROW(0x80000000, 0, 0, ALL, ALL, ALL, "the vendor again; EAX is the highest leaf shown"),
    ROW_FORCED(0x80000001, 0, ALL, ALL, ALLOW_80000001_ECX, ALLOW_80000001_EDX, 0, 0, 0, FORCE_1_EDX,
        "AMD's instructions; SVM, MONITORX, IBS, LWP and performance counters are hidden"),
    ROW(0x80000002, 0, ALL, ALL, ALL, ALL, "brand string: users look for their CPU"),
    ROW(0x80000003, 0, ALL, ALL, ALL, ALL, "brand string"),
    ROW(0x80000004, 0, ALL, ALL, ALL, ALL, "brand string"),
    ROW(0x80000005, 0, ALL, ALL, ALL, ALL, "L1 caches and TLBs are the real ones"),
    ROW(0x80000006, 0, ALL, ALL, ALL, ALL, "L2 and L3 caches are the real ones"),
    ROW_FORCED(0x80000007, 0, 0, 0, 0, 0, 0, 0, 0, B(8),
        "invariant TSC: lintel's only clock; no power or machine check MSRs"),
    ROW(0x80000008, 0, 0xff, ALLOW_80000008_EBX, 0, 0, "physical address width of the host; CLZERO"),
    ROW(0x80000019, 0, ALL, ALL, 0, 0, "TLBs for 1 GiB pages are the real ones"),
    ROW(0x8000001a, 0, ALL, 0, 0, 0, "hints which vector width is fast"),
    ROW(0x80000021, 0, ALLOW_80000021_EAX, 0, 0, 0,
        "LFENCE and null selectors: known to be good without writing MSRs"),
};
/* clang-format on */
const unsigned cpuid_row_count = ARRAY_SIZE(cpuid_rows);
